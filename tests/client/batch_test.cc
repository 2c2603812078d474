#include "client/batch.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

TEST(BatchTest, ReadsALineAnItem) {
  v1::GenerateImageRequest defaults;
  defaults.set_tier("high");
  defaults.set_guidance(2);
  const auto items = ParseBatch(
      "{\"id\": \"a\", \"prompt\": \"a cat\", \"seed\": 18446744073709551615}\n"
      "\n"
      "{\"id\": \"b\", \"prompt\": \"\", \"tier\": \"full\", \"aspect\": "
      "\"1:1\", \"guidance\": 1, \"tau\": 0.5, \"top_p\": 0.9}\r\n",
      defaults);
  ASSERT_TRUE(items.ok()) << items.status();
  ASSERT_EQ(items->size(), 2);
  EXPECT_EQ((*items)[0].id, "a");
  EXPECT_EQ((*items)[0].request.prompt(), "a cat");
  EXPECT_EQ((*items)[0].request.seed(), 18446744073709551615u);
  EXPECT_EQ((*items)[0].request.tier(), "high");
  EXPECT_EQ((*items)[1].request.tier(), "full");
  EXPECT_EQ((*items)[1].request.guidance(), 1);
  EXPECT_FALSE((*items)[1].request.has_seed());
}

TEST(BatchTest, NamesEveryBadLine) {
  const auto items = ParseBatch(
      "nonsense\n[1]\n{\"id\": \"../up\", \"prompt\": \"x\"}\n"
      "{\"id\": \"a\"}\n{\"id\": \"a\", \"prompt\": 3}\n"
      "{\"id\": \"a\", \"prompt\": \"x\", \"seed\": -1}\n"
      "{\"id\": \"a\", \"prompt\": \"x\", \"sed\": 1}\n"
      "{\"id\": \"a\", \"prompt\": \"x\"}\n{\"id\": \"a\", \"prompt\": \"y\"}",
      {});
  EXPECT_EQ(items.status().message(),
            "line 1: is no JSON object\n"
            "line 2: is no JSON object\n"
            "line 3: id \"../up\" is no plain file name\n"
            "line 4: has no prompt\n"
            "line 5: prompt must be text\n"
            "line 6: seed must be a whole number, 0 or more\n"
            "line 7: unknown key \"sed\"\n"
            "line 9: repeats the id \"a\"");
}

}  // namespace
}  // namespace heatkv::client
