// The description of Infinity-2B with its first ladder, for tests of sizes:
// what models/infinity-2b has, without its files.

#ifndef TESTS_MODEL_INFINITY_2B_H_
#define TESTS_MODEL_INFINITY_2B_H_

#include "cache/ladder.h"
#include "model/api/model_spec.h"

namespace heatkv::model {

inline ModelSpec Infinity2b() {
  ModelSpec spec;
  spec.transformer = {.files = {},
                      .depth = 32,
                      .width = 2048,
                      .heads = 16,
                      .mlp_width = 8192,
                      .bits = 32,
                      .patchify = false,
                      .text_width = 2048,
                      .text_max_length = 512,
                      .level_embeddings = 15};
  spec.vae = {.files = {},
              .base_channels = 128,
              .channel_multipliers = {1, 2, 4, 4, 4},
              .residual_blocks = 3};
  spec.text_encoder = {.files = {},
                       .vocabulary = 32128,
                       .width = 2048,
                       .heads = 32,
                       .head_width = 64,
                       .layers = 24,
                       .mlp_width = 5120};
  spec.tokenizer.max_length = 512;
  spec.ladders.push_back({.aspect = "1:1",
                          .pixel_class = "1M",
                          .rope_grid = {64, 64},
                          .ladder = *cache::ScaleLadder::Create({{1, 1},
                                                                 {2, 2},
                                                                 {4, 4},
                                                                 {6, 6},
                                                                 {8, 8},
                                                                 {12, 12},
                                                                 {16, 16},
                                                                 {20, 20},
                                                                 {24, 24},
                                                                 {32, 32},
                                                                 {40, 40},
                                                                 {48, 48},
                                                                 {64, 64}},
                                                                3)});
  return spec;
}

}  // namespace heatkv::model

#endif  // TESTS_MODEL_INFINITY_2B_H_
