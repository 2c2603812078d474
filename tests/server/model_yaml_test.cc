#include "server/config/model_yaml.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::server {
namespace {

using testing::HasSubstr;

constexpr char kGood[] = R"(format: 1
name: tiny
description: a test
transformer:
  files: [infinity.safetensors]
  depth: 10
  width: 320
  heads: 10
  bits: 16
  patchify: false
  text_width: 256
  text_max_length: 64
  level_embeddings: 8
  mlp_width: 1280
vae:
  files: [vae.safetensors]
  base_channels: 32
  channel_multipliers: [1, 2, 4, 4]
  residual_blocks: 3
text_encoder:
  files: [text_encoder.safetensors]
  vocabulary: 4096
  width: 256
  head_width: 64
  heads: 4
  layers: 4
  mlp_width: 704
  relative_buckets: 32
  relative_max_distance: 128
tokenizer:
  file: tokenizer.model
  max_length: 64
sink_scales: 3
ladders:
  - aspect: "1:1"
    pixel_class: "128"
    rope_grid: [16, 16]
    scales: [[1,1],[2,2],[3,3],[4,4],[6,6]]
defaults: {guidance: 3.5, tau: 0.5, top_p: 0.9}
profile: profile.json
)";

std::string With(const std::string& old_text, const std::string& new_text) {
  const std::string changed =
      absl::StrReplaceAll(kGood, {{old_text, new_text}});
  EXPECT_NE(changed, kGood) << old_text;
  return changed;
}

std::string MistakesOf(const std::string& yaml) {
  const auto spec = ParseModelSpec(yaml, "m.yaml");
  EXPECT_FALSE(spec.ok());
  return std::string(spec.status().message());
}

TEST(ModelYamlTest, ReadsEveryField) {
  const auto spec = ParseModelSpec(kGood, "m.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "tiny");
  EXPECT_EQ(spec->transformer.depth, 10);
  EXPECT_EQ(spec->transformer.head_width(), 32);
  EXPECT_EQ(spec->transformer.bits_per_token(), 16);
  EXPECT_EQ(spec->vae.upsampling(), 8);
  EXPECT_EQ(spec->text_encoder.vocabulary, 4096);
  EXPECT_EQ(spec->tokenizer.max_length, 64);
  ASSERT_EQ(spec->ladders.size(), 1);
  EXPECT_EQ(spec->ladders[0].aspect, "1:1");
  EXPECT_EQ(spec->ladders[0].ladder.num_scales(), 5);
  EXPECT_EQ(spec->ladders[0].ladder.sink_scales(), 3);
  EXPECT_EQ(spec->ladders[0].rope_grid, (cache::Grid{16, 16}));
  EXPECT_EQ(spec->defaults.guidance, 3.5);
  EXPECT_EQ(spec->profile, "profile.json");
  EXPECT_EQ(spec->pixels_per_token(), 8);
  EXPECT_EQ(spec->group_rows, 256);
}

TEST(ModelYamlTest, ReadsHowManyRowsAGroupMayHave) {
  const auto spec = ParseModelSpec(
      With("sink_scales: 3", "sink_scales: 3\ngroup_rows: 1024"), "m.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->group_rows, 1024);
  EXPECT_EQ(model::GroupCapacity(*spec, 0, 4, 2), 14);
  EXPECT_THAT(
      MistakesOf(With("sink_scales: 3", "sink_scales: 3\ngroup_rows: 0")),
      HasSubstr("group_rows must be a whole number from 1 to 65536"));
}

TEST(ModelYamlTest, NamesAllMistakesAtOnceInTheOrderOfTheirLines) {
  std::string yaml = With("depth: 10", "depth: ten");
  yaml = absl::StrReplaceAll(yaml,
                             {{"  bits: 16\n", ""}, {"layers: 4", "layer: 4"}});
  EXPECT_EQ(MistakesOf(yaml),
            "m.yaml:5:3: the key transformer.bits is missing\n"
            "m.yaml:6:10: transformer.depth must be a whole number from 1 to "
            "4096, but is \"ten\"\n"
            "m.yaml:20:3: the key text_encoder.layers is missing\n"
            "m.yaml:25:3: unknown key text_encoder.layer; known here: files, "
            "head_width, heads, layers, mlp_width, relative_buckets, "
            "relative_max_distance, vocabulary, width");
}

TEST(ModelYamlTest, RefusesContradictionsWithBothNumbers) {
  EXPECT_THAT(MistakesOf(With("width: 320", "width: 321")),
              HasSubstr("transformer.width 321 is no multiple of "
                        "transformer.heads 10"));
  EXPECT_THAT(MistakesOf(With("text_width: 256", "text_width: 512")),
              HasSubstr("text_encoder.width 256 differs from "
                        "transformer.text_width 512"));
  EXPECT_THAT(MistakesOf(With("level_embeddings: 8", "level_embeddings: 4")),
              HasSubstr("has 5 scales, but transformer.level_embeddings is 4"));
  EXPECT_THAT(MistakesOf(With("sink_scales: 3", "sink_scales: 5")),
              HasSubstr("ladders[0]"));
}

TEST(ModelYamlTest, RefusesWrongTypes) {
  EXPECT_THAT(MistakesOf(With("patchify: false", "patchify: 0")),
              HasSubstr("m.yaml:10:13: transformer.patchify must be true or "
                        "false"));
  EXPECT_THAT(MistakesOf(With("[4,4],[6,6]", "[4],[6,6]")),
              HasSubstr("ladders[0].scales[3] must be [height, width]"));
  EXPECT_THAT(MistakesOf(With("files: [vae.safetensors]", "files: {a: b}")),
              HasSubstr("vae.files must be a list of texts"));
  EXPECT_THAT(MistakesOf(With("tau: 0.5", "tau: .nan")),
              HasSubstr("defaults.tau must be a number"));
  EXPECT_THAT(MistakesOf(With("format: 1", "format: 2")), HasSubstr("format"));
}

TEST(ModelYamlTest, RefusesAKeyThatAppearsTwice) {
  EXPECT_THAT(MistakesOf(With("name: tiny", "name: tiny\nname: other")),
              HasSubstr("m.yaml:3:1: the key name appears twice"));
}

TEST(ModelYamlTest, SaysWhereTextIsNoYaml) {
  EXPECT_THAT(MistakesOf("a: 1\nb: \"c"), HasSubstr("m.yaml:2:"));
  EXPECT_THAT(MistakesOf("just text"), HasSubstr("must be a mapping"));
}

TEST(ModelYamlTest, NamesAFileThatIsNotThere) {
  const auto spec = LoadModelSpec("/no/such/folder");
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(spec.status().message()),
              HasSubstr("/no/such/folder/model.yaml"));
}

}  // namespace
}  // namespace heatkv::server
