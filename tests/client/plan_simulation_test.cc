#include "client/plan_simulation.h"

#include <memory>
#include <string>
#include <vector>

#include "cache/heatkv_solver.h"
#include "cache/safe_state.h"
#include "client/plan_admission.h"
#include "client/plan_costs.h"
#include "client/plan_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Json = nlohmann::ordered_json;

TEST(ParseMixTest, ReadsNamesWithAndWithoutShares) {
  const auto mix = ParseMix("0.1=3,1:1@0.25M,full=0.5");
  ASSERT_TRUE(mix.ok()) << mix.status();
  ASSERT_EQ(mix->size(), 3);
  EXPECT_EQ((*mix)[0].name, "0.1");
  EXPECT_EQ((*mix)[0].share, 3);
  EXPECT_EQ((*mix)[1].name, "1:1@0.25M");
  EXPECT_EQ((*mix)[1].share, 1);
  EXPECT_EQ((*mix)[2].share, 0.5);
}

TEST(ParseMixTest, WhatCannotBeASharesIsQuoted) {
  for (const char* text : {"a=0", "a=-1", "a=b", "a=", "a=inf"}) {
    EXPECT_THAT(std::string(ParseMix(text).status().message()),
                HasSubstr(text));
  }
  EXPECT_FALSE(ParseMix("").ok());
  EXPECT_FALSE(ParseMix("a,,b").ok());
}

// Tests run in the repository root, where models/ is.
SimulationRequest Request() {
  SimulationRequest request;
  request.plan.model = "infinity-2b";
  request.plan.models = "models";
  request.tiers = "0.1,1";
  request.requests = 60;
  return request;
}

TEST(PlanSimulationTest, CapacityIsTheClosedFormForEverySizeTierAndDevice) {
  SimulationRequest request = Request();
  request.devices = {24'000'000'000, 40'000'000'000};
  request.reserve_bytes = 8'000'000'000;
  const auto plan = MakeSimulationPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->pools, ElementsAre(16'000'000'000, 32'000'000'000));
  EXPECT_THAT(plan->columns, ElementsAre("24 GB", "40 GB"));
  // Four pixel classes of 1:1, two tiers.
  ASSERT_EQ(plan->capacity.size(), 8);
  EXPECT_EQ(plan->capacity[0].size, "1024x1024");
  EXPECT_EQ(plan->capacity[6].size, "256x256");
  const CapacityRow& full = plan->capacity[1];
  EXPECT_EQ(full.tier, "full");
  // 6425 tokens of two branches: 804 blocks for each of 512 heads.
  const std::int64_t peak = std::int64_t{804} * 512 * 8192;
  EXPECT_EQ(full.peak_bytes, peak);
  EXPECT_EQ(full.cells[0].by_peaks, 16'000'000'000 / peak);
  // Before 12x12 tokens, an image holds 121: 16 blocks for each head.
  const std::int64_t rest = std::int64_t{16} * 512 * 8192;
  EXPECT_EQ(full.cells[0].safe, (16'000'000'000 - peak) / rest + 1);
  EXPECT_EQ(full.cells[1].safe, (32'000'000'000 - peak) / rest + 1);
}

TEST(PlanSimulationTest, ATierBelowTheSinksOfASmallSizeIsExplained) {
  SimulationRequest request = Request();
  request.tiers = "0.05";
  const auto plan = MakeSimulationPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const CapacityRow& smallest = plan->capacity.back();
  EXPECT_EQ(smallest.size, "256x256");
  EXPECT_TRUE(smallest.cells.empty());
  EXPECT_THAT(smallest.why_not, AllOf(HasSubstr("13.25"), HasSubstr("21")));
  EXPECT_THAT(ToText(*plan), HasSubstr("cannot be had"));
  EXPECT_THAT(ToMarkdown(*plan), HasSubstr("| 256x256 | 5 % | – |"));
}

TEST(PlanSimulationTest, TheLoadIsOfTheTiersThatExistAndANoteSaysSo) {
  SimulationRequest request = Request();
  request.aspects = "1:1@0.06M";
  request.tiers = "0.05,0.1";
  const auto plan = MakeSimulationPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->notes.back(),
              AllOf(HasSubstr("without 5 % at 256x256"), HasSubstr("21")));
  EXPECT_EQ(plan->runs[0].report.Count(server::Outcome::kFinished), 60);
  request.tiers = "0.05";
  EXPECT_THAT(std::string(MakeSimulationPlan(request).status().message()),
              HasSubstr("13.25"));
}

TEST(PlanSimulationTest, EveryRequestEndsUnderBothPoliciesAndRules) {
  SimulationRequest request = Request();
  request.aspects = "1:1=2,2:3@0.25M=1";
  request.capacity_table = false;
  request.rule = "both";
  request.load = 1.5;
  request.requests = 300;
  request.cancel_share = 0.3;
  const auto plan = MakeSimulationPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->capacity.empty());
  ASSERT_EQ(plan->runs.size(), 4);
  for (const SimulationRun& run : plan->runs) {
    using server::Outcome;
    EXPECT_EQ(run.report.Count(Outcome::kFinished) +
                  run.report.Count(Outcome::kCancelled) +
                  run.report.Count(Outcome::kRefused),
              300);
    EXPECT_GT(run.report.Count(Outcome::kCancelled), 30);
    EXPECT_EQ(run.report.plan_error_blocks, 0);
    EXPECT_LE(run.report.most_used_blocks, plan->pool_blocks);
  }
  EXPECT_NEAR(plan->rate, 1.5 * plan->saturated_rate, 1e-9);
}

TEST(PlanSimulationTest, EqualSeedsGiveEqualTextAndOthersDoNot) {
  SimulationRequest request = Request();
  request.capacity_table = false;
  const auto text = [&] {
    const auto plan = MakeSimulationPlan(request);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? ToText(*plan) : "";
  };
  const std::string first = text();
  EXPECT_EQ(text(), first);
  request.seed = 2;
  EXPECT_NE(text(), first);
}

TEST(PlanSimulationTest, PreviewShowsSomethingSoonerAtNoLossOfThroughput) {
  SimulationRequest request = Request();
  request.capacity_table = false;
  request.tiers = "0.1";
  request.requests = 1000;
  const auto plan = MakeSimulationPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const SimulationRun& latency = plan->runs[0];
  const SimulationRun& preview = plan->runs[1];
  EXPECT_LT(5 * preview.summary.first_scale.p95,
            latency.summary.first_scale.p95);
  EXPECT_NEAR(preview.report.images_per_second,
              latency.report.images_per_second, 0.05);
}

TEST(PlanSimulationTest, TextAndJsonSayThatCostsAreModelledAndHeadsUnranked) {
  SimulationRequest request = Request();
  const auto plan = MakeSimulationPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(ToText(*plan),
              AllOf(HasSubstr("not a measurement"),
                    HasSubstr("in the order of their layers"),
                    HasSubstr("80 % of the"), HasSubstr("plan error 0")));
  const Json json = ToJson(*plan);
  EXPECT_THAT(json["costs"].get<std::string>(), HasSubstr("modelled"));
  EXPECT_EQ(json["runs"].size(), 2);
  EXPECT_EQ(json["runs"][0]["plan_error_bytes"], 0);
  EXPECT_EQ(json["capacity"][0]["pools"].size(), 4);
  EXPECT_GT(json["runs"][1]["trace"].size(), 50);
}

TEST(PlanSimulationTest, WhatCannotBeSimulatedIsRefusedWithBothNumbers) {
  const auto refusal = [](const SimulationRequest& request) {
    return std::string(MakeSimulationPlan(request).status().message());
  };
  SimulationRequest request = Request();
  request.pool_bytes = 1 << 30;
  EXPECT_THAT(refusal(request),
              AllOf(HasSubstr("3372220416"), HasSubstr("1073741824")));
  request = Request();
  request.devices = {10'000'000'000};
  EXPECT_THAT(refusal(request),
              AllOf(HasSubstr("10000000000"), HasSubstr("12000000000")));
  request = Request();
  request.policy = "fast";
  EXPECT_THAT(refusal(request), HasSubstr("\"fast\""));
  request = Request();
  request.cancel_share = 1.5;
  EXPECT_THAT(refusal(request), HasSubstr("1.5"));
  request = Request();
  request.requests = 3;
  EXPECT_THAT(refusal(request), HasSubstr("3 requests"));
}

TEST(CapacityTest, TheNumberByCapacityIsSafeAndOneMoreIsNot) {
  PlanRequest request;
  request.model = "infinity-2b";
  request.models = "models";
  const auto model = LoadPlannedModel(request);
  ASSERT_TRUE(model.ok()) << model.status();
  const cache::ScaleLadder& ladder = model->spec.ladders[0].ladder;
  const auto schedule = std::make_shared<const cache::Schedule>(
      *cache::SolveHeatKv(ladder, 32, 16, LayerOrder(model->geometry, ladder),
                          *cache::Budget::Create(0.1)));
  const cache::Trajectory trajectory(schedule, model->geometry, 2);
  const int rest = FirstScaleAlone(model->spec, 0, 2);
  EXPECT_EQ(rest, 5);
  for (const std::int64_t limit :
       {trajectory.peak_blocks(), 3 * trajectory.peak_blocks() - 1,
        20 * trajectory.peak_blocks()}) {
    const CapacityCell cell = CapacityOf(limit, trajectory, rest);
    EXPECT_EQ(cell.by_peaks, limit / trajectory.peak_blocks());
    EXPECT_GE(cell.safe, cell.by_peaks);
    std::vector<cache::ImageProgress> images(
        cell.safe, {.trajectory = &trajectory, .next_scale = rest});
    EXPECT_LE(cache::SafeCapacity(images), limit);
    images.push_back(images.front());
    EXPECT_GT(cache::SafeCapacity(images), limit);
  }
  EXPECT_EQ(CapacityOf(trajectory.peak_blocks() - 1, trajectory, rest).safe, 0);
}

// Of infinity-2b's first ladder, 13 scales.
class PlanCostsTest : public testing::Test {
 protected:
  PlanCostsTest() {
    PlanRequest request;
    request.model = "infinity-2b";
    request.models = "models";
    spec_ = LoadPlannedModel(request)->spec;
    spec_.ladders.erase(spec_.ladders.begin() + 1, spec_.ladders.end());
    Json steps = Json::array();
    for (int s = 0; s < 13; ++s) steps.push_back(0.5 * s);
    file_ = {{"format", "heatkv-step-costs-1"},
             {"device", "a stopwatch"},
             {"text", 0.25},
             {"ladders",
              {{{"aspect", "1:1"},
                {"pixel_class", "1M"},
                {"decode", 2},
                {"steps", {{"1", steps}, {"2", steps}}}}}}};
    file_["ladders"][0]["steps"]["2"][1] = {1, 1.5};
  }

  std::string Refusal() {
    const auto table = ParseStepCosts(file_.dump(), "costs.json", spec_);
    EXPECT_FALSE(table.ok());
    return std::string(table.status().message());
  }

  model::ModelSpec spec_;
  Json file_;
};

TEST_F(PlanCostsTest, ReadsSecondsByBranchesScaleAndImages) {
  const auto table = ParseStepCosts(file_.dump(), "costs.json", spec_);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->text(), absl::Seconds(0.25));
  EXPECT_EQ(table->Decode(0), absl::Seconds(2));
  EXPECT_EQ(table->Step(0, 12, 1, 1), absl::Seconds(6));
  EXPECT_EQ(table->Step(0, 1, 2, 1), absl::Seconds(1));
  EXPECT_EQ(table->Step(0, 1, 2, 7), absl::Seconds(1.5));
  EXPECT_THAT(table->source(), AllOf(HasSubstr("measured: a stopwatch"),
                                     HasSubstr("costs.json")));
}

TEST_F(PlanCostsTest, MistakesAreNamedWithTheirPlace) {
  const Json good = file_;
  file_["ladders"][0]["steps"]["2"][4] = "fast";
  EXPECT_THAT(Refusal(), HasSubstr("1:1 at 1M, branches 2, scale 4"));
  file_ = good;
  file_["ladders"][0]["steps"]["1"].erase(12);
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("12 scales"), HasSubstr("has 13")));
  file_ = good;
  file_["ladders"][0]["steps"].erase("1");
  EXPECT_THAT(Refusal(), HasSubstr("1"));
  file_ = good;
  file_["ladders"][0]["pixel_class"] = "2M";
  EXPECT_THAT(Refusal(), HasSubstr("no costs of ladder 1:1 at 1M"));
  file_ = good;
  file_["format"] = "other";
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("other"), HasSubstr("costs-1")));
  file_ = good;
  file_["text"] = -1;
  EXPECT_THAT(Refusal(), HasSubstr("-1s"));
  EXPECT_FALSE(ReadStepCosts("no/such/file.json", spec_).ok());
}

TEST(AdmissionTest, SafeStatesRunMoreAtOnceAndNoFewerInASecond) {
  PlanRequest request;
  request.model = "infinity-2b";
  request.models = "models";
  request.budget = "1";
  request.pixel_class = "0.06M";
  const auto report = MakePlanReport(request);
  ASSERT_TRUE(report.ok()) << report.status();
  const auto gain = MeasureAdmission(*report, {.max_running = 40});
  ASSERT_TRUE(gain.ok()) << gain.status();
  EXPECT_EQ(gain->pool_bytes, 8 * report->trajectory.peak_bytes());
  EXPECT_EQ(gain->by_peaks.greatest, 8);
  EXPECT_EQ(gain->rested.by_peaks, 8);
  EXPECT_GT(gain->rested.safe, 8);
  EXPECT_GT(gain->safe.mean, gain->by_peaks.mean);
  EXPECT_LE(gain->safe.greatest, 40);
  EXPECT_THAT(ToText(*gain),
              AllOf(HasSubstr("sum of peaks"), HasSubstr("1088.00 MiB"),
                    HasSubstr("where 8 peaks do")));
  EXPECT_EQ(ToJson(*gain)["sum_of_peaks"]["greatest"], 8);

  const auto tight = MeasureAdmission(*report, {.pool_bytes = 1000});
  EXPECT_THAT(std::string(tight.status().message()), HasSubstr("1000"));
}

}  // namespace
}  // namespace heatkv::client
