// The small parts of the engine, each alone: prompt cache and waiting line.

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/prompt_cache.h"
#include "server/engine/waiting_line.h"
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

std::shared_ptr<RunningRequest> MakeRequest(std::uint64_t number, int images) {
  static const ScheduleBook& book = *new ScheduleBook(MakeFakeBook());
  GenerationRequest asked;
  asked.seeds.assign(images, 0);
  return std::make_shared<RunningRequest>(
      number, std::move(asked), std::make_shared<RecordingSink>(),
      model::SamplingKnobs(), book.plan(0, 0).guided, absl::UnixEpoch());
}

TEST(WaitingLineTest, CountsRequestsImagesAndBytesInAndOut) {
  WaitingLine line(10, 1 << 30);
  line.Join(MakeRequest(1, 2));
  line.Join(MakeRequest(2, 3));
  const std::int64_t one = line.front()->trajectory->peak_bytes();
  EXPECT_EQ(line.size(), 2);
  EXPECT_EQ(line.images(), 5);
  EXPECT_EQ(line.bytes(), 5 * one);
  EXPECT_EQ(line.PopFront()->number, 1);
  EXPECT_EQ(line.bytes(), 3 * one);
  EXPECT_EQ(line.RemoveIf([](const RunningRequest& r) { return r.number == 2; })
                .size(),
            1);
  EXPECT_TRUE(line.empty());
  EXPECT_EQ(line.bytes(), 0);
  EXPECT_EQ(line.images(), 0);
}

TEST(WaitingLineTest, RefusesByNumberAndByBytesWithBothNumbers) {
  WaitingLine line(2, 100);
  EXPECT_TRUE(line.MayJoin(1000).ok()) << "alone it is no queue";
  line.Join(MakeRequest(1, 1));
  EXPECT_THAT(std::string(line.MayJoin(1).message()),
              testing::HasSubstr("100 may wait"));
  line.Join(MakeRequest(2, 1));
  EXPECT_THAT(std::string(line.MayJoin(0).message()),
              testing::HasSubstr("2 of 2 requests"));
}

}  // namespace
}  // namespace heatkv::server
