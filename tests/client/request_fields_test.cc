#include "client/request_fields.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using nlohmann::json;

v1::GenerateImageRequest Read(const json& object) {
  v1::GenerateImageRequest request;
  for (const auto& [key, value] : object.items()) {
    EXPECT_EQ(SetField(key, value, &request), "") << key;
  }
  return request;
}

std::string Wrong(const char* key, const json& value) {
  v1::GenerateImageRequest request;
  return SetField(key, value, &request);
}

TEST(RequestFieldsTest, EveryKeySetsItsField) {
  v1::GenerateImageRequest expected;
  expected.set_prompt("a cat");
  expected.set_tier("high");
  expected.mutable_size()->set_aspect("1:1");
  expected.mutable_size()->set_pixel_class("128");
  expected.mutable_memory_policy()->set_allow_down_to("economy");
  expected.set_tenant("a");
  expected.set_request_id("r");
  expected.set_priority(v1::PRIORITY_HIGH);
  expected.set_format(v1::IMAGE_FORMAT_WEBP);
  expected.add_seeds(18446744073709551615u);
  expected.add_seeds(1);
  expected.set_n(2);
  expected.set_quality(80);
  expected.mutable_previews()->set_every_scale(true);
  expected.mutable_previews()->add_scales(3);
  expected.mutable_previews()->set_max_edge(64);
  expected.set_guidance(1);
  expected.set_tau(0.5);
  expected.set_top_p(0.9);
  const v1::GenerateImageRequest read =
      Read({{"prompt", "a cat"},
            {"tier", "high"},
            {"aspect", "1:1"},
            {"pixel_class", "128"},
            {"allow_down_to", "economy"},
            {"tenant", "a"},
            {"request_id", "r"},
            {"priority", "high"},
            {"format", "webp"},
            {"seeds", {18446744073709551615u, 1u}},
            {"n", 2u},
            {"quality", 80u},
            {"previews", true},
            {"preview_scales", {3u}},
            {"preview_edge", 64u},
            {"guidance", 1},
            {"tau", 0.5},
            {"top_p", 0.9}});
  EXPECT_TRUE(
      google::protobuf::util::MessageDifferencer::Equals(read, expected))
      << read.DebugString();
}

TEST(RequestFieldsTest, ListsReplaceWhatTheDefaultsHad) {
  v1::GenerateImageRequest request;
  request.add_seeds(1);
  request.mutable_previews()->add_scales(1);
  EXPECT_EQ(SetField("preview_scales", {4u, 6u}, &request), "");
  EXPECT_THAT(request.previews().scales(), testing::ElementsAre(4, 6));
  EXPECT_THAT(request.seeds(), testing::ElementsAre(1));
  EXPECT_EQ(SetField("seeds", {8u}, &request), "");
  EXPECT_THAT(request.seeds(), testing::ElementsAre(8));
}

TEST(RequestFieldsTest, SaysWhatIsWrongWithAValue) {
  EXPECT_EQ(Wrong("size", "1:1"), "unknown key \"size\"");
  EXPECT_EQ(Wrong("tier", 3), "tier must be text");
  EXPECT_EQ(Wrong("priority", "urgent"),
            "priority must be low, normal or high");
  EXPECT_EQ(Wrong("format", "gif"), "format must be png, jpeg or webp");
  EXPECT_EQ(Wrong("n", -1), "n must be a whole number, 0 or more");
  EXPECT_EQ(Wrong("n", 4294967296u), "n must be a whole number, 0 or more");
  EXPECT_EQ(Wrong("seeds", 7u), "seeds must be a list of whole numbers");
  EXPECT_EQ(Wrong("preview_scales", {1u, -2}),
            "preview_scales must be a list of whole numbers");
  EXPECT_EQ(Wrong("previews", 1), "previews must be true or false");
  EXPECT_EQ(Wrong("tau", "warm"), "tau must be a number");
}

TEST(RequestFieldsTest, NamesOfPrioritiesReadBack) {
  for (const v1::Priority priority :
       {v1::PRIORITY_LOW, v1::PRIORITY_NORMAL, v1::PRIORITY_HIGH}) {
    v1::Priority read;
    ASSERT_TRUE(ReadPriority(PriorityName(priority), &read));
    EXPECT_EQ(read, priority);
  }
  v1::Priority read;
  EXPECT_FALSE(ReadPriority("", &read));
}

}  // namespace
}  // namespace heatkv::client
