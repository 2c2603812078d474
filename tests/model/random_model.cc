#include "tests/model/random_model.h"

#include <ATen/ATen.h>

#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {
namespace {

// Adds random tensors under the names of layers.
class RandomWeights {
 public:
  explicit RandomWeights(int seed)
      : generator_(at::detail::createCPUGenerator(seed)) {}

  // Normally distributed around `mean`.
  void Add(const std::string& name, at::IntArrayRef shape, double deviation,
           double mean = 0) {
    tensors_[name] = at::randn(shape, generator_, at::TensorOptions(at::kFloat))
                         .mul_(deviation)
                         .add_(mean);
  }
  // A matrix or convolution that keeps the size of what it is applied to.
  void AddMatrix(const std::string& name, at::IntArrayRef shape) {
    double inputs = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) inputs *= shape[i];
    Add(name, shape, 1 / std::sqrt(inputs));
  }
  void AddLinear(const std::string& name, int outputs, int inputs) {
    AddMatrix(name + ".weight", {outputs, inputs});
    Add(name + ".bias", {outputs}, 0.1);
  }
  void AddNorm(const std::string& name, int width) {
    Add(name + ".weight", {width}, 0.1, 1);
    Add(name + ".bias", {width}, 0.1);
  }
  void AddConvolution(const std::string& name, int outputs, int inputs,
                      int side) {
    AddMatrix(name + ".conv.weight", {outputs, inputs, side, side});
    Add(name + ".conv.bias", {outputs}, 0.1);
  }
  void AddResidualBlock(const std::string& name, int outputs, int inputs) {
    AddNorm(name + ".norm1.norm", inputs);
    AddConvolution(name + ".conv1", outputs, inputs, 3);
    AddNorm(name + ".norm2.norm", outputs);
    AddConvolution(name + ".conv2", outputs, outputs, 3);
    if (inputs != outputs) {
      AddConvolution(name + ".nin_shortcut", outputs, inputs, 1);
    }
  }

  NamedTensors Take() { return std::move(tensors_); }

 private:
  at::Generator generator_;
  NamedTensors tensors_;
};

void AddBlock(const std::string& name, const TransformerSpec& spec,
              RandomWeights* weights) {
  const int width = spec.width;
  weights->Add(name + ".ada_gss", {1, 1, 6, width}, 0.5);
  weights->Add(name + ".sa.scale_mul_1H11", {1, spec.heads, 1, 1}, 0.3,
               std::log(4.0));
  weights->AddMatrix(name + ".sa.mat_qkv.weight", {3 * width, width});
  weights->Add(name + ".sa.q_bias", {width}, 0.1);
  weights->Add(name + ".sa.v_bias", {width}, 0.1);
  weights->Add(name + ".sa.zero_k_bias", {width}, 0);
  weights->AddLinear(name + ".sa.proj", width, width);
  weights->AddLinear(name + ".ca.mat_q", width, width);
  weights->AddMatrix(name + ".ca.mat_kv.weight", {2 * width, width});
  weights->Add(name + ".ca.v_bias", {width}, 0.1);
  weights->AddLinear(name + ".ca.proj", width, width);
  weights->AddNorm(name + ".ca_norm", width);
  weights->AddLinear(name + ".ffn.fc1", spec.mlp_width, width);
  weights->AddLinear(name + ".ffn.fc2", width, spec.mlp_width);
}

}  // namespace

TransformerSpec SmallTransformerSpec() {
  TransformerSpec spec;
  spec.files = {"infinity.safetensors"};
  spec.depth = 2;
  spec.width = 16;
  spec.heads = 2;
  spec.mlp_width = 32;
  spec.bits = 4;
  spec.text_width = 32;
  spec.text_max_length = 24;
  spec.level_embeddings = 7;
  return spec;
}

NamedTensors RandomTransformerWeights(const TransformerSpec& spec, int seed) {
  RandomWeights weights(seed);
  const int width = spec.width;
  const int bits = spec.bits_per_token();
  weights.Add("cfg_uncond", {spec.text_max_length, spec.text_width}, 1);
  weights.Add("pos_start", {1, 1, width}, 1);
  weights.Add("text_norm.weight", {spec.text_width}, 0.1, 1);
  weights.Add("text_proj_for_sos.ca.mat_q", {1, 1, width}, 1);
  weights.AddMatrix("text_proj_for_sos.ca.mat_kv.weight",
                    {2 * width, spec.text_width});
  weights.Add("text_proj_for_sos.ca.v_bias", {width}, 0.1);
  weights.AddLinear("text_proj_for_sos.ca.proj", width, width);
  weights.AddLinear("text_proj_for_ca.0", width, spec.text_width);
  weights.AddLinear("text_proj_for_ca.2", width, width);
  weights.Add("lvl_embed.weight", {spec.level_embeddings, width}, 0.5);
  weights.AddLinear("word_embed", width, bits);
  weights.AddLinear("shared_ada_lin.1", 6 * width, width);
  weights.AddLinear("head_nm.ada_lin.1", 2 * width, width);
  weights.AddLinear("head", 2 * bits, width);
  for (int layer = 0; layer < spec.depth; ++layer) {
    const int half = spec.depth / 2;
    AddBlock(spec.depth % 2 == 0 ? absl::StrCat("block_chunks.", layer / half,
                                                ".module.", layer % half)
                                 : absl::StrCat("blocks.", layer),
             spec, &weights);
  }
  return weights.Take();
}

NamedTensors RandomVaeWeights(const VaeSpec& spec, int bits, int seed) {
  RandomWeights weights(seed);
  int channels = spec.base_channels * spec.channel_multipliers.back();
  weights.AddConvolution("decoder.conv_in", channels, bits, 3);
  weights.AddResidualBlock("decoder.mid.block_1", channels, channels);
  weights.AddResidualBlock("decoder.mid.block_2", channels, channels);
  const int levels = static_cast<int>(spec.channel_multipliers.size());
  for (int level = levels - 1; level >= 0; --level) {
    const std::string name = absl::StrCat("decoder.up.", level);
    const int outputs = spec.base_channels * spec.channel_multipliers[level];
    for (int block = 0; block < spec.residual_blocks; ++block) {
      weights.AddResidualBlock(absl::StrCat(name, ".block.", block), outputs,
                               channels);
      channels = outputs;
    }
    if (level > 0) {
      weights.AddConvolution(name + ".upsample.conv", channels, channels, 3);
    }
  }
  weights.AddNorm("decoder.norm_out.norm", channels);
  weights.AddConvolution("decoder.conv_out", 3, channels, 3);
  return weights.Take();
}

NamedTensors RandomTextWeights(const TextEncoderSpec& spec, int seed) {
  RandomWeights weights(seed);
  const int inner = spec.heads * spec.head_width;
  weights.Add("shared.weight", {spec.vocabulary, spec.width}, 1);
  weights.Add(
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      {spec.relative_buckets, spec.heads}, 1);
  for (int layer = 0; layer < spec.layers; ++layer) {
    const std::string name = absl::StrCat("encoder.block.", layer, ".layer.");
    weights.Add(name + "0.layer_norm.weight", {spec.width}, 0.1, 1);
    for (const char* part : {"q", "k", "v"}) {
      weights.AddMatrix(absl::StrCat(name, "0.SelfAttention.", part, ".weight"),
                        {inner, spec.width});
    }
    weights.AddMatrix(name + "0.SelfAttention.o.weight", {spec.width, inner});
    weights.Add(name + "1.layer_norm.weight", {spec.width}, 0.1, 1);
    for (const char* part : {"wi_0", "wi_1"}) {
      weights.AddMatrix(
          absl::StrCat(name, "1.DenseReluDense.", part, ".weight"),
          {spec.mlp_width, spec.width});
    }
    weights.AddMatrix(name + "1.DenseReluDense.wo.weight",
                      {spec.width, spec.mlp_width});
  }
  weights.Add("encoder.final_layer_norm.weight", {spec.width}, 0.1, 1);
  return weights.Take();
}

std::unique_ptr<InfinityTransformer> RandomTransformer(
    const TransformerSpec& spec, int seed) {
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("w"), RandomTransformerWeights(spec, seed));
  auto weights = WeightStore::Open({folder.File("w")}, {});
  HEATKV_CHECK_OK(weights.status());
  auto model = InfinityTransformer::Load(spec, *std::move(weights));
  HEATKV_CHECK_OK(model.status());
  return *std::move(model);
}

ModelSpec WriteRandomModel(const TemporaryFolder& folder, int seed) {
  ModelSpec spec;
  spec.name = "random";
  spec.transformer = SmallTransformerSpec();
  spec.vae.files = {"vae.safetensors"};
  spec.vae.base_channels = 32;
  spec.vae.channel_multipliers = {1, 2};
  spec.vae.residual_blocks = 1;
  spec.text_encoder.files = {"text_encoder.safetensors"};
  spec.text_encoder.vocabulary = 400;
  spec.text_encoder.width = spec.transformer.text_width;
  spec.text_encoder.heads = 2;
  spec.text_encoder.head_width = 8;
  spec.text_encoder.layers = 1;
  spec.text_encoder.mlp_width = 24;
  spec.tokenizer = {.file = "tokenizer.model",
                    .max_length = spec.transformer.text_max_length};
  for (const cache::Grid& last : {cache::Grid{6, 6}, cache::Grid{6, 4}}) {
    const int w = last.width;
    auto ladder = cache::ScaleLadder::Create(
        {{1, 1}, {2, 2}, {3, w / 2}, {4, w - 2 > 3 ? 4 : 3}, {5, w - 1}, last},
        /*sink_scales=*/2);
    HEATKV_CHECK_OK(ladder.status());
    spec.ladders.push_back({.aspect = absl::StrCat(last.height, ":", w),
                            .pixel_class = "12",
                            .rope_grid = last,
                            .ladder = *std::move(ladder)});
  }
  WriteSafetensors(folder.File("infinity.safetensors"),
                   RandomTransformerWeights(spec.transformer, seed));
  WriteSafetensors(folder.File("vae.safetensors"),
                   RandomVaeWeights(spec.vae, spec.transformer.bits, seed + 1));
  WriteSafetensors(folder.File("text_encoder.safetensors"),
                   RandomTextWeights(spec.text_encoder, seed + 2));
  std::filesystem::copy_file("tests/golden/text/tokenizer.model",
                             folder.File("tokenizer.model"));
  return spec;
}

}  // namespace heatkv::model
