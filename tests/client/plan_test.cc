#include "client/plan.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include "CLI/CLI.hpp"
#include "cache/heatkv_solver.h"
#include "calibration/json_text.h"
#include "calibration/schedule_file.h"
#include "client/plan_report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Tests run in the repository root, where models/ is.
class PlanTest : public testing::Test {
 protected:
  PlanTest()
      : ladder_(cache::InfinityLadder()),
        ranking_(cache::RandomRanking(ladder_, 32, 16, 5)),
        orders_(std::filesystem::path(testing::TempDir()) /
                (std::string(testing::UnitTest::GetInstance()
                                 ->current_test_info()
                                 ->name()) +
                 "-orders.json")) {
    nlohmann::ordered_json lists = nlohmann::ordered_json::array();
    for (int s = 3; s < 12; ++s) {
      lists.push_back(nlohmann::ordered_json::array());
      for (const cache::HeadIndex& head : ranking_.order(s)) {
        lists.back().push_back({head.head, head.layer});
      }
    }
    std::ofstream(orders_) << lists.dump();
    request_.model = "infinity-2b";
    request_.models = "models";
    request_.orders = orders_;
    request_.budget = "0.1";
  }
  ~PlanTest() override { std::filesystem::remove(orders_); }

  std::string Refusal(const PlanRequest& request) {
    const absl::StatusOr<PlanReport> report = MakePlanReport(request);
    EXPECT_FALSE(report.ok());
    return std::string(report.status().message());
  }

  cache::ScaleLadder ladder_;
  cache::Ranking ranking_;
  std::filesystem::path orders_;
  PlanRequest request_;
};

TEST_F(PlanTest, ReportsTheScheduleOfTheRanking) {
  const absl::StatusOr<PlanReport> report = MakePlanReport(request_);
  ASSERT_TRUE(report.ok()) << report.status();
  const absl::StatusOr<cache::Schedule> expected = cache::SolveHeatKv(
      ladder_, 32, 16, ranking_, *cache::Budget::Parse("0.1"));
  EXPECT_EQ(*report->schedule, *expected);
  EXPECT_TRUE(report->notes.empty());
}

TEST_F(PlanTest, JsonIsTheScheduleFileAndTheBlocksOfEveryScale) {
  const absl::StatusOr<PlanReport> report = MakePlanReport(request_);
  ASSERT_TRUE(report.ok()) << report.status();
  nlohmann::ordered_json json = ToJson(*report);
  const nlohmann::ordered_json plan = json["plan"];
  json.erase("plan");
  EXPECT_EQ(json,
            calibration::ScheduleToJson("infinity-2b", *report->schedule));

  // 16 tokens of 128 keys and values of 2 bytes; 6425 tokens, 512 heads, 2
  // branches.
  EXPECT_EQ(plan["block_bytes"], 8192);
  EXPECT_EQ(plan["full_cache_bytes"], std::int64_t{6425} * 512 * 2 * 512);
  EXPECT_EQ(plan["peak_bytes"], plan["peak_blocks"].get<std::int64_t>() * 8192);
  EXPECT_LE(plan["peak_share"].get<double>(), 0.103);
  ASSERT_EQ(plan["scales"].size(), 13);
  std::int64_t held = 0;
  std::int64_t peak = 0;
  for (const auto& scale : plan["scales"]) {
    EXPECT_EQ(scale["blocks_before"], held);
    held = scale["blocks_after"].get<std::int64_t>();
    peak = std::max(peak, scale["blocks_peak"].get<std::int64_t>());
    EXPECT_EQ(scale["bytes_after"], held * 8192);
  }
  EXPECT_EQ(plan["peak_blocks"], peak);
  // 12 x 12 tokens: nothing is dropped so early, and 265 tokens of a head pair
  // lie in 34 blocks.
  EXPECT_EQ(plan["scales"][5]["blocks_after"], 512 * 34);
}

TEST_F(PlanTest, TableNamesModelBudgetAndPeak) {
  const absl::StatusOr<PlanReport> report = MakePlanReport(request_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(
      ToTable(*report),
      AllOf(
          HasSubstr("infinity-2b, 1:1 at 1M: 1024x1024 pixels, 13 scales"),
          HasSubstr("budget 0.1: 642.5 of 6425 tokens a head"),
          HasSubstr(calibration::ScheduleSha256(*report->schedule)),
          HasSubstr("peak " + std::to_string(report->trajectory.peak_blocks())),
          HasSubstr("full cache of 3212.50 MiB")));
}

TEST_F(PlanTest, SmallerPixelClassUsesTheFirstSourceScalesAndSaysSo) {
  request_.pixel_class = "0.25M";
  const absl::StatusOr<PlanReport> report = MakePlanReport(request_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->schedule->ladder().num_scales(), 10);
  ASSERT_EQ(report->notes.size(), 1);
  EXPECT_THAT(report->notes[0], HasSubstr("13 scales"));
}

TEST_F(PlanTest, OrdersOfAnotherNumberOfSinksAreRefused) {
  request_.sink_scales = 4;
  EXPECT_THAT(Refusal(request_),
              AllOf(HasSubstr("9 source scales"), HasSubstr("has 8")));
}

TEST_F(PlanTest, OrdersOfAnotherModelAreRefusedWithBothCounts) {
  request_.model = "infinity-8b";
  EXPECT_THAT(Refusal(request_),
              AllOf(HasSubstr("512 heads"), HasSubstr("has 1120")));
}

TEST_F(PlanTest, UnknownLadderListsTheKnownOnes) {
  request_.aspect = "9:1";
  EXPECT_THAT(Refusal(request_), AllOf(HasSubstr("9:1"), HasSubstr("1:1 at 1M"),
                                       HasSubstr("1:3 at 0.06M")));
}

TEST_F(PlanTest, UnknownModelAndMissingRankingAreExplained) {
  request_.orders.clear();
  EXPECT_THAT(Refusal(request_), HasSubstr("--orders or --profile"));
  request_.model = "infinity-3b";
  EXPECT_THAT(Refusal(request_), HasSubstr("models/infinity-3b"));
}

TEST_F(PlanTest, FullBudgetNeedsNoRanking) {
  request_.orders.clear();
  request_.budget = "1";
  const absl::StatusOr<PlanReport> report = MakePlanReport(request_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->schedule->policy(), "full");
  EXPECT_EQ(report->trajectory.peak_tokens(), std::int64_t{6425} * 512 * 2);
}

TEST_F(PlanTest, ModelsAreFoundAboveTheProgram) {
  request_.models.clear();
  request_.program = std::filesystem::current_path() / "build" / "bin";
  EXPECT_TRUE(MakePlanReport(request_).ok());
  request_.model = "models/infinity-2b";  // a folder, as seen from here
  request_.program = "/";
  EXPECT_TRUE(MakePlanReport(request_).ok());
}

TEST_F(PlanTest, EveryLadderOfTheLargeModelsHasAPlan) {
  for (const auto& [model, layers, heads] :
       {std::tuple{"infinity-2b", 32, 16}, std::tuple{"infinity-8b", 40, 28}}) {
    int ladders = 0;
    for (const char* pixel_class : {"1M", "0.60M", "0.25M", "0.06M"}) {
      for (const char* aspect :
           {"1:1", "5:4", "4:5", "4:3", "3:4", "3:2", "2:3", "7:4", "4:7",
            "2:1", "1:2", "5:2", "2:5", "3:1", "1:3"}) {
        PlanRequest request;
        request.model = model;
        request.models = "models";
        request.budget = "1";
        request.aspect = aspect;
        request.pixel_class = pixel_class;
        const absl::StatusOr<PlanReport> report = MakePlanReport(request);
        ASSERT_TRUE(report.ok()) << report.status();
        EXPECT_EQ(report->trajectory.geometry().layers, layers);
        EXPECT_EQ(report->trajectory.geometry().heads, heads);
        EXPECT_EQ(report->trajectory.geometry().head_width, 128);
        EXPECT_EQ(report->pixels_per_token, 16);
        ++ladders;
      }
    }
    EXPECT_EQ(ladders, 60);
  }
}

// The command as the program wires it.
class PlanCommandTest : public PlanTest {
 protected:
  // The exit code and what went to standard output and error.
  int Run(std::vector<std::string> arguments) {
    CLI::App app("heatkv");
    int exit_code = -1;
    AddPlanCommand(app, "/", &exit_code);
    std::reverse(arguments.begin(), arguments.end());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    try {
      app.parse(arguments);
    } catch (const CLI::ParseError& e) {
      exit_code = 64;
    }
    out_ = testing::internal::GetCapturedStdout();
    error_ = testing::internal::GetCapturedStderr();
    return exit_code;
  }

  std::string out_;
  std::string error_;
};

TEST_F(PlanCommandTest, PrintsJsonThatParses) {
  EXPECT_EQ(Run({"plan", "--model", "infinity-2b", "--models_dir", "models",
                 "--orders", orders_.string(), "--budget", "0.1", "--ladder",
                 "1:1", "--pixel_class", "1M", "--sinks", "3", "--json"}),
            0);
  const auto json = calibration::ParseJson(out_, "output");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ((*json)["budget"], 0.1);
  EXPECT_EQ((*json)["heads_dropped_per_source_scale"]["12"], 463);
  const auto& admission = (*json)["plan"]["admission"];
  EXPECT_EQ(admission["sum_of_peaks"]["greatest"], 8);
  EXPECT_GT(admission["safe_state"]["mean"], 20);
  EXPECT_EQ(error_, "");
}

TEST_F(PlanCommandTest, BudgetIsNeededUnlessItSimulates) {
  EXPECT_EQ(Run({"plan", "--model", "infinity-2b", "--models_dir", "models",
                 "--orders", orders_.string()}),
            64);
  EXPECT_EQ(
      Run({"plan", "--model", "infinity-2b", "--models_dir", "models",
           "--orders", orders_.string(), "--budget", "0.1", "--load", "1.0"}),
      64);  // a load, and nothing to simulate
  const std::filesystem::path plot =
      std::filesystem::path(testing::TempDir()) / "occupancy.svg";
  ASSERT_EQ(Run({"plan",     "--model",   "infinity-2b",    "--models_dir",
                 "models",   "--orders",  orders_.string(), "--simulate",
                 "--tiers",  "0.1",       "--pool",         "1GiB",
                 "--pools",  "1GiB,2GiB", "--requests",     "100",
                 "--policy", "preview",   "--plot",         plot.string()}),
            0)
      << error_;
  EXPECT_THAT(out_,
              AllOf(HasSubstr("pool 2 GiB"), HasSubstr("a pool of 1024.00 MiB"),
                    HasSubstr("policy preview, safe states")));
  EXPECT_GT(std::filesystem::file_size(plot), 4000);
  std::filesystem::remove(plot);
}

TEST_F(PlanCommandTest, PlotsOfOtherKindsAndUnwritableOnesFail) {
  const std::vector<std::string> base = {
      "plan",       "--model",    "infinity-2b", "--models_dir",
      "models",     "--simulate", "--tiers",     "0.1",
      "--requests", "20",         "--plot"};
  std::vector<std::string> other = base;
  other.push_back("occupancy.png");
  EXPECT_EQ(Run(other), 1);
  EXPECT_THAT(error_, HasSubstr("plots are SVG"));
  other.back() = "no/such/folder/occupancy.svg";
  EXPECT_EQ(Run(other), 1);
  EXPECT_THAT(error_, HasSubstr("cannot write no/such/folder/occupancy.svg"));
}

TEST_F(PlanCommandTest, FailsWithOneLineOnStandardError) {
  EXPECT_EQ(Run({"plan", "--model", "infinity-2b", "--models_dir", "models",
                 "--orders", orders_.string(), "--budget", "0.001"}),
            1);
  EXPECT_EQ(out_, "");
  EXPECT_THAT(error_, AllOf(HasSubstr("6.425 tokens"), HasSubstr("21 tokens")));
}

TEST_F(PlanCommandTest, CacheDtypeAndBranchesChangeTheBytes) {
  const std::vector<std::string> base = {
      "plan",  "--model", "models/infinity-2b", "--orders",
      orders_, "--json",  "--budget",           "0.1"};
  std::vector<std::string> other = base;
  other.insert(other.end(), {"--cache_dtype", "fp32", "--branches", "1"});
  ASSERT_EQ(Run(base), 0);
  const auto guided = *calibration::ParseJson(out_, "output");
  ASSERT_EQ(Run(other), 0);
  const auto single = *calibration::ParseJson(out_, "output");
  EXPECT_EQ(single["plan"]["full_cache_bytes"],
            guided["plan"]["full_cache_bytes"]);
  EXPECT_EQ(single["plan"]["block_bytes"], 16384);
  EXPECT_EQ(single["plan"]["branches"], 1);
  EXPECT_EQ(Run({"plan", "--model", "m", "--budget", "1", "--branches", "3"}),
            64);
}

}  // namespace
}  // namespace heatkv::client
