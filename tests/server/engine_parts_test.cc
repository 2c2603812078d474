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
  explicit NumberedText(int number) : number_(number) {}
  int tokens() const override { return number_; }

 private:
  int number_;
};

TEST(PromptCacheTest, ForgetsWhatWasUsedLongestAgo) {
  PromptCache cache(2);
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
  PromptCache cache(0);
  cache.Insert("a", std::make_shared<NumberedText>(1));
  EXPECT_EQ(cache.Find("a"), nullptr);
}

}  // namespace
}  // namespace heatkv::server
