#include "client/bench/summary.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

RequestRecord Good(double latency, int images = 1) {
  RequestRecord record;
  record.status = "OK";
  record.was_accepted = true;
  record.asked_tier = record.granted_tier = "standard";
  record.images_asked = images;
  record.images.resize(images);
  record.latency = latency;
  record.first_picture = latency;
  record.queued = latency / 2;
  record.peak_held_bytes = 1000;
  return record;
}

RequestRecord Left(Fault fault, const char* status) {
  RequestRecord record = Good(1, 2);
  record.plan.fault = fault;
  record.has_left = true;
  record.status = status;
  record.images.resize(1);
  return record;
}

TEST(RecordTest, KnowsWhatWasIntended) {
  EXPECT_EQ(WhyUnintended(Good(1)), "");
  EXPECT_EQ(WhyUnintended(Left(Fault::kCancel, "CANCELLED")), "");
  EXPECT_EQ(WhyUnintended(Left(Fault::kVanish, "UNAVAILABLE")), "");

  RequestRecord completed_first = Left(Fault::kCancel, "OK");
  completed_first.images.resize(2);
  EXPECT_EQ(WhyUnintended(completed_first), "");
}

TEST(RecordTest, KnowsWhatWasNot) {
  RequestRecord refused = Good(1);
  refused.status = "RESOURCE_EXHAUSTED";
  refused.message = "full";
  EXPECT_EQ(WhyUnintended(refused), "RESOURCE_EXHAUSTED: full");

  RequestRecord never_left = Left(Fault::kCancel, "CANCELLED");
  never_left.has_left = false;
  EXPECT_EQ(WhyUnintended(never_left), "CANCELLED: ");
  EXPECT_EQ(WhyUnintended(Left(Fault::kCancel, "INTERNAL")), "INTERNAL: ");

  RequestRecord short_of_one = Good(1, 2);
  short_of_one.images.pop_back();
  EXPECT_EQ(WhyUnintended(short_of_one), "ended well with 1 of 2 images");

  RequestRecord damaged = Left(Fault::kVanish, "UNAVAILABLE");
  damaged.images[0].is_intact = false;
  EXPECT_EQ(WhyUnintended(damaged), "image 0 is not what its SHA-256 says");

  RequestRecord off_plan = Good(1);
  off_plan.plan_errors = 2;
  EXPECT_EQ(WhyUnintended(off_plan),
            "held bytes differ from the plan after 2 scales");
}

TEST(SummaryTest, AddsUpWhatHappened) {
  std::vector<RequestRecord> records = {Good(1), Good(3, 2), Good(9)};
  records.push_back(Left(Fault::kCancel, "CANCELLED"));
  records.push_back(Left(Fault::kVanish, "UNAVAILABLE"));
  RequestRecord slow = Good(50);
  slow.plan.fault = Fault::kSlow;
  slow.granted_tier = "economy";
  slow.peak_held_bytes = 5000;
  records.push_back(slow);
  RequestRecord refused;
  refused.status = "RESOURCE_EXHAUSTED";
  records.push_back(refused);

  const Summary sum = Summarize(records, 10, 4);
  EXPECT_EQ(sum.requests, 7);
  EXPECT_EQ(sum.completed, 4);
  EXPECT_EQ(sum.images, 7);
  EXPECT_EQ(sum.throughput, 0.7);
  EXPECT_EQ(sum.goodput, 0.3);
  EXPECT_EQ(sum.completed_within_limit, 2.0 / 5);
  EXPECT_EQ(sum.latency.count, 3);
  EXPECT_EQ(sum.latency.p50, 3);
  EXPECT_EQ(sum.slow_latency.max, 50);
  EXPECT_EQ(sum.queued.max, 4.5);
  EXPECT_EQ(sum.first_preview.count, 0);
  EXPECT_EQ(sum.refused, 1);
  EXPECT_EQ(sum.cancelled, 1);
  EXPECT_EQ(sum.vanished, 1);
  EXPECT_EQ(sum.slow, 1);
  EXPECT_EQ(sum.lower_tiers, 1);
  EXPECT_EQ(sum.peak_held_bytes, 5000);
  EXPECT_THAT(sum.statuses, ElementsAre(Pair("CANCELLED", 1), Pair("OK", 4),
                                        Pair("RESOURCE_EXHAUSTED", 1),
                                        Pair("UNAVAILABLE", 1)));
  EXPECT_THAT(sum.granted_tiers,
              ElementsAre(Pair("economy", 1), Pair("standard", 5)));
  EXPECT_EQ(sum.unintended_count(), 1);
}

TEST(SummaryTest, WritesFiguresAndReasons) {
  RequestRecord refused;
  refused.status = "RESOURCE_EXHAUSTED";
  refused.message = "full";
  const Summary sum = Summarize({Good(1), Good(2), refused}, 4, kNoLimit);
  const std::string text = ToText(sum);
  EXPECT_THAT(text, HasSubstr("3 requests, 2 completed, 2 images in 4.00 s"));
  EXPECT_THAT(text, HasSubstr("0.500 images/s"));
  EXPECT_THAT(text, HasSubstr("not as intended: 1 x RESOURCE_EXHAUSTED: full"));
  EXPECT_THAT(text, Not(HasSubstr("goodput"))) << "no limit was set";
  EXPECT_THAT(text, Not(HasSubstr("first preview"))) << "there was none";
  const nlohmann::ordered_json json = ToJson(sum);
  EXPECT_EQ(json["latency_seconds"]["p99"], 2);
  EXPECT_EQ(json["unintended"]["RESOURCE_EXHAUSTED: full"], 1);
  EXPECT_FALSE(json.contains("latency_limit_seconds"));
}

TEST(SummaryTest, NothingIsNoDivisionByZero) {
  const Summary sum = Summarize({}, 0, 1);
  EXPECT_EQ(sum.throughput, 0);
  EXPECT_EQ(sum.completed_within_limit, 0);
  EXPECT_FALSE(ToText(sum).empty());
}

}  // namespace
}  // namespace heatkv::client
