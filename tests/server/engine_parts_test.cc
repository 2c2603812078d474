// The small parts of the engine, each alone: prompt cache and waiting line.

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/prompt_cache.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

class NumberedText final : public model::EncodedText {
 public:
  explicit NumberedText(int number, std::int64_t bytes = 0)
      : number_(number), bytes_(bytes) {}
  int tokens() const override { return number_; }
  std::int64_t bytes() const override { return bytes_; }

 private:
  int number_;
  std::int64_t bytes_;
};

TEST(PromptCacheTest, ForgetsWhatWasUsedLongestAgo) {
  PromptCache cache(2, 1000);
  cache.Insert("a", std::make_shared<NumberedText>(1));
  cache.Insert("b", std::make_shared<NumberedText>(2));
  EXPECT_EQ(cache.Find("a")->tokens(), 1);
  cache.Insert("c", std::make_shared<NumberedText>(3));
  EXPECT_EQ(cache.Find("b"), nullptr);
  EXPECT_EQ(cache.Find("a")->tokens(), 1);
  EXPECT_EQ(cache.Find("c")->tokens(), 3);
  EXPECT_EQ(cache.size(), 2);
}

TEST(PromptCacheTest, OfNoCapacityKeepsNothing) {
  PromptCache cache(0, 1000);
  cache.Insert("a", std::make_shared<NumberedText>(1));
  EXPECT_EQ(cache.Find("a"), nullptr);
}

TEST(PromptCacheTest, ForgetsUntilTheBytesFit) {
  PromptCache cache(10, 100);
  cache.Insert("a", std::make_shared<NumberedText>(1, 40));
  cache.Insert("b", std::make_shared<NumberedText>(2, 30));
  cache.Insert("c", std::make_shared<NumberedText>(3, 30));
  EXPECT_EQ(cache.bytes(), 100);
  EXPECT_NE(cache.Find("a"), nullptr);
  cache.Insert("d", std::make_shared<NumberedText>(4, 31));
  EXPECT_EQ(cache.Find("b"), nullptr);
  EXPECT_EQ(cache.Find("c"), nullptr);
  EXPECT_NE(cache.Find("a"), nullptr);
  EXPECT_NE(cache.Find("d"), nullptr);
  EXPECT_EQ(cache.bytes(), 71);
}

TEST(PromptCacheTest, NothingLeavesForATextThatIsTooLarge) {
  PromptCache cache(10, 100);
  cache.Insert("a", std::make_shared<NumberedText>(1, 100));
  cache.Insert("b", std::make_shared<NumberedText>(2, 101));
  EXPECT_EQ(cache.Find("b"), nullptr);
  EXPECT_NE(cache.Find("a"), nullptr);
  EXPECT_EQ(cache.bytes(), 100);
}

TEST(PromptCacheTest, APromptThatIsKnownIsCountedOnce) {
  PromptCache cache(10, 100);
  cache.Insert("a", std::make_shared<NumberedText>(1, 60));
  cache.Insert("a", std::make_shared<NumberedText>(2, 60));
  EXPECT_EQ(cache.bytes(), 60);
  EXPECT_EQ(cache.Find("a")->tokens(), 1);
}

}  // namespace
}  // namespace heatkv::server
