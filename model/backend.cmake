# The LibTorch backend of the Infinity family.  Included by model/CMakeLists.txt
# where LibTorch is.

heatkv_library(
  NAME heatkv_model
  SRCS
    infinity_backend.cc
    knob_rules.cc
    memory_available.cc
    memory_plan.cc
    prompt_texts.cc
    spec_rules.cc
    torch_exceptions.cc
    warm_up.cc
    infinity/attentive_pooling.cc
    infinity/bit_probabilities.cc
    infinity/bit_source.cc
    infinity/block.cc
    infinity/block_names.cc
    infinity/code_canvas.cc
    infinity/cross_attention.cc
    infinity/feed_forward.cc
    infinity/image_in_flight.cc
    infinity/key_value_arena.cc
    infinity/linear.cc
    infinity/modulated_norm.cc
    infinity/reference_attention.cc
    infinity/rope2d.cc
    infinity/self_attention.cc
    infinity/step_slots.cc
    infinity/text_condition.cc
    infinity/transformer.cc
    cuda/placed_modulations.cc
    cuda/row_texts.cc
    cuda/step_tables.cc
    text/piece_model.cc
    text/relative_position.cc
    text/t5_encoder.cc
    text/text_worker.cc
    text/tokenizer.cc
    vae/convolution.cc
    vae/decoder.cc
    vae/decoding_bytes.cc
    vae/group_norm.cc
    vae/image_in_bands.cc
    vae/pixels.cc
    vae/residual_block.cc
    weights/mapped_file.cc
    weights/random_weight.cc
    weights/safetensors_file.cc
    weights/tensor_bytes.cc
    weights/weight_store.cc
  DEPS heatkv_model_api heatkv_base heatkv_cache heatkv_step_tables absl::status
       absl::statusor absl::strings absl::function_ref LibTorch::cpu
  PRIVATE_DEPS nlohmann_json::nlohmann_json PkgConfig::SENTENCEPIECE)
if(HEATKV_CUDA)
  add_subdirectory(kernels)
  target_sources(
    heatkv_model PRIVATE cuda/attention_choice.cc cuda/group_layers.cc
                         cuda/group_step.cc cuda/image_calls.cc
                         cuda/kernel_calls.cc cuda/layer_products.cc
                         cuda/memory_report.cc cuda/recorded_decoder.cc
                         cuda/recorded_step.cc cuda/recorded_texts.cc
                         cuda/staged_attention.cc cuda/upload_buffers.cc
                         cuda/work_arena.cc)
  target_compile_definitions(heatkv_model PUBLIC HEATKV_CUDA=1)
  target_link_libraries(
    heatkv_model
    PUBLIC heatkv_kernels
    PRIVATE absl::cleanup)
endif()
# Torch's umbrella header takes seconds to parse; parse it once.
target_precompile_headers(heatkv_model PRIVATE <ATen/ATen.h>)
# libsentencepiece.so and libc10.so both define FLAGS_minloglevel, one as an
# object of many bytes and one as an int.  The library that is loaded first
# defines it for both, and SentencePiece's constructor must not write over what
# follows c10's int.  So it comes first, before any library a program names.
target_link_options(
  heatkv_model INTERFACE
  "LINKER:--push-state,--no-as-needed,-lsentencepiece,--pop-state")
# SentencePiece's header and Abseil's string_view exclude each other.
set_source_files_properties(text/piece_model.cc
                            PROPERTIES SKIP_PRECOMPILE_HEADERS ON)

# Comparison with recorded runs of the authors' implementation.
heatkv_library(
  NAME heatkv_parity_run
  SRCS parity/aspect_templates.cc parity/golden_folder.cc
       parity/parity_report.cc parity/parity_run.cc parity/recorded_bits.cc
       parity/scale_step.cc
  DEPS heatkv_model
  PRIVATE_DEPS nlohmann_json::nlohmann_json absl::str_format)
target_precompile_headers(heatkv_parity_run REUSE_FROM heatkv_model)
heatkv_program(NAME heatkv_parity SRCS parity/main.cc DEPS heatkv_parity_run)
