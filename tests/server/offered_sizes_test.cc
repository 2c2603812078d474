#include "server/offered_sizes.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/model_yaml.h"

namespace heatkv::server {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class OfferedSizesTest : public testing::Test {
 protected:
  std::set<std::string> ClassesOf(const OfferedSizes& offered) {
    std::set<std::string> classes;
    for (const auto& ladder : offered.ladders) {
      classes.insert(ladder.pixel_class);
    }
    return classes;
  }
  static TierSpec Tier(double budget) {
    return {"t", *cache::Budget::Create(budget)};
  }

  // Classes 1M, 0.60M, 0.25M and 0.06M, the last of 7 scales.
  const model::ModelSpec spec_ = *LoadModelSpec("models/infinity-2b");
};

TEST_F(OfferedSizesTest, EverySizeIsOfferedThatEveryTierFits) {
  const auto all = OfferSizes(spec_, {Tier(1), Tier(0.1)}, {});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->ladders, spec_.ladders);
  EXPECT_TRUE(all->left_out.empty());
}

TEST_F(OfferedSizesTest, AClassWhoseSinksExceedATierIsLeftOutWithTheReason) {
  const auto some = OfferSizes(spec_, {Tier(1), Tier(0.06)}, {});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->ladders.front(), spec_.ladders.front());
  EXPECT_EQ(ClassesOf(*some).count("0.06M"), 0);
  EXPECT_EQ(ClassesOf(*some).count("1M"), 1);
  EXPECT_THAT(some->left_out,
              ElementsAre(AllOf(HasSubstr("0.06M: tier \"t\" at 1:1"),
                                HasSubstr("15.9"), HasSubstr("the 21 of"))));
}

TEST_F(OfferedSizesTest, TheModelsFirstClassIsNeverLeftOut) {
  const auto some = OfferSizes(spec_, {Tier(0.0001)}, {});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_THAT(ClassesOf(*some), ElementsAre("1M"));
}

TEST_F(OfferedSizesTest, AListIsTakenAsItIs) {
  const auto some = OfferSizes(spec_, {Tier(0.06)}, {"0.06M", "1M"});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_THAT(ClassesOf(*some), ElementsAre("0.06M", "1M"));
  EXPECT_EQ(some->ladders.front(), spec_.ladders.front());
  EXPECT_THAT(std::string(OfferSizes(spec_, {}, {"4M"}).status().message()),
              AllOf(HasSubstr("\"4M\""), HasSubstr("1M, ")));
}

}  // namespace
}  // namespace heatkv::server
