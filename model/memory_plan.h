// How many bytes each part of an Infinity model takes, from its description and
// from what the server is to hold at once.  Weights, pool and texts are exact;
// what a step and a decoding take is an upper bound that follows the code in
// cuda/group_layers.cc, infinity/ and vae/ (vae/decoding_bytes.h); libraries'
// own memory is a constant of experience.
//
// Pure functions of plain values; no torch.  Thread safety: stateless.

#ifndef MODEL_MEMORY_PLAN_H_
#define MODEL_MEMORY_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/api/memory_account.h"
#include "model/api/model_spec.h"

namespace heatkv::model {

// Of the largest level of the VAE that a GPU records (RecordedDecoder): 128x128
// and a quarter, because sides are not the same.
inline constexpr std::int64_t kRecordedDecodingPixels = 20480;

struct MemoryDemand {
  std::string device = "cpu";
  bool is_on_gpu = false;
  // Else in host memory, next to a model on a GPU.
  bool text_encoder_on_device = true;
  int host_text_bytes_per_value = 4;
  std::int64_t pool_bytes = 0;
  // Texts that are remembered, and their bound in bytes.
  int remembered_texts = 0;
  std::int64_t remembered_bytes = 0;
  int running_images = 1;
  // VaeDecoder::Decode's.
  int vae_tile = 0;
};

// The account of the model's device, and of the "cpu" if only the text encoder
// is there; without what is available.
std::vector<MemoryAccount> PlanMemory(const ModelSpec& spec,
                                      const MemoryDemand& demand);

// What a GPU computes in (cuda/work_arena.h), one after the other.
struct WorkPlan {
  std::int64_t step = 0;      // the largest, its staging for whole caches
  std::int64_t decoding = 0;  // of the largest picture
  std::int64_t text = 0;      // of the longest
  // The size that holds each of them, and what lies between its tensors.
  std::int64_t arena() const;
};
WorkPlan PlanWork(const ModelSpec& spec, int vae_tile);

// The terms of it.  Weights, with what is made of them while they are loaded:
std::int64_t TransformerBytes(const TransformerSpec& spec, bool is_on_gpu);
std::int64_t VaeBytes(const VaeSpec& spec, int bits, bool is_on_gpu);
// with `bytes` a value of a matrix.
std::int64_t TextEncoderBytes(const TextEncoderSpec& spec, int bytes);

// What follows from a text of `tokens` tokens (TextCondition).
std::int64_t TextBytes(const TransformerSpec& spec, std::int64_t tokens,
                       bool is_on_gpu);

}  // namespace heatkv::model

#endif  // MODEL_MEMORY_PLAN_H_
