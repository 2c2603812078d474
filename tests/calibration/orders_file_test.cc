#include "calibration/orders_file.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Refusal(const char* text) {
  return std::string(ParseOrders(text, "o.json", 2, 2, 3).status().message());
}

TEST(OrdersFileTest, ReadsHeadBeforeLayer) {
  const absl::StatusOr<cache::Ranking> ranking =
      ParseOrders("[[[1,0],[0,0],[1,1],[0,1]], [[0,0],[1,0],[0,1],[1,1]]]",
                  "o.json", 2, 2, 3);
  ASSERT_TRUE(ranking.ok()) << ranking.status();
  EXPECT_EQ(ranking->first_source_scale(), 3);
  EXPECT_EQ(ranking->end_source_scale(), 5);
  EXPECT_THAT(ranking->order(3),
              ElementsAre(cache::HeadIndex{0, 1}, cache::HeadIndex{0, 0},
                          cache::HeadIndex{1, 1}, cache::HeadIndex{1, 0}));
}

TEST(OrdersFileTest, FileOfAnotherModelNamesBothCounts) {
  EXPECT_THAT(Refusal("[[[0,0],[1,0]]]"),
              AllOf(HasSubstr("o.json"), HasSubstr("source scale 3"),
                    HasSubstr("2 heads"), HasSubstr("has 4")));
  EXPECT_THAT(Refusal("[[[0,0],[1,0],[0,1],[1,2]]]"),
              AllOf(HasSubstr("position 3"), HasSubstr("layer 2")));
  EXPECT_THAT(Refusal("[[[0,0],[1,0],[0,1],[0,0]]]"), HasSubstr("0 and 3"));
}

TEST(OrdersFileTest, WhatIsNoListOfPairsIsRefused) {
  EXPECT_THAT(Refusal("{}"), HasSubstr("must be a list"));
  EXPECT_THAT(Refusal("[]"), HasSubstr("at least 1 source scale"));
  EXPECT_THAT(Refusal("[3]"), HasSubstr("source scale 3: must be a list"));
  EXPECT_THAT(Refusal("[[[0,0],[1]]]"), HasSubstr("position 1"));
  EXPECT_THAT(Refusal("[[[0,0.5]]]"),
              AllOf(HasSubstr("whole number"), HasSubstr("0.5")));
  EXPECT_THAT(Refusal("[[[0,-1]]]"), HasSubstr("but is -1"));
  EXPECT_THAT(Refusal("[[[0,99999999999]]]"), HasSubstr("whole number"));
  EXPECT_THAT(Refusal("[[[0,0]"), HasSubstr("no valid JSON"));
}

TEST(OrdersFileTest, MissingFileIsNotFound) {
  const absl::Status status =
      ReadOrders("no/such/orders.json", 2, 2, 3).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no/such/orders.json"));
}

}  // namespace
}  // namespace heatkv::calibration
