// Holds the solver and the schedule file against the authors' published orders
// and the schedules that their code computes from them, if they are unpacked
// beside the repository (CMake: HEATKV_OFFICIAL_DIR).

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "cache/budget.h"
#include "cache/heatkv_solver.h"
#include "cache/trajectory.h"
#include "calibration/json_text.h"
#include "calibration/orders_file.h"
#include "calibration/schedule_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::calibration {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = HEATKV_OFFICIAL_DIR;

// False, after saying so, if the folder is not there.
bool HasFolder() {
  if (fs::is_directory(kFolder)) return true;
  std::cout << "The authors' published schedules are not unpacked in "
            << kFolder << ": nothing to compare with.\n";
  return false;
}

struct OfficialModel {
  const char* orders;
  int layers;
  int heads;
};

OfficialModel ModelOf(const std::string& schedule_file) {
  if (schedule_file.starts_with("infinity-2b")) return {"2b.json", 32, 16};
  return {"8b.json", 40, 28};
}

TEST(OfficialSchedulesTest, EveryFieldOfEverySchedule) {
  if (!HasFolder()) return;
  const cache::ScaleLadder ladder = cache::InfinityLadder();
  int files = 0;
  for (const auto& entry : fs::directory_iterator(kFolder / "schedules")) {
    SCOPED_TRACE(entry.path().string());
    const std::string text = *ReadText(entry.path());
    const nlohmann::ordered_json file = *ParseJson(text, "schedule");
    const OfficialModel model = ModelOf(entry.path().filename().string());
    const absl::StatusOr<cache::Ranking> ranking = ReadOrders(
        kFolder / "orders" / model.orders, model.layers, model.heads, 3);
    ASSERT_TRUE(ranking.ok()) << ranking.status();
    const absl::StatusOr<cache::Schedule> schedule = cache::SolveHeatKv(
        ladder, model.layers, model.heads, *ranking,
        *cache::Budget::Create(file["budget"].get<double>()));
    ASSERT_TRUE(schedule.ok()) << schedule.status();
    const nlohmann::ordered_json ours =
        ScheduleToJson(file["model"].get<std::string>(), *schedule);
    for (const auto& [key, value] : file.items()) {
      EXPECT_EQ(ours[key], value) << key;
    }
    EXPECT_EQ(ToPythonText(ours), text);
    ++files;
  }
  EXPECT_GE(files, 4);
}

struct OfficialHash {
  OfficialModel model;
  const char* budget;
  const char* sha256;
};

// Schedules that are not in the folder, by their hashes.
const OfficialHash kHashes[] = {
    {{"2b.json", 32, 16},
     "0.05",
     "7a2a8b447270a7ced68d95393b93f1168ce4c7440a981dd8b51cd0ecdb62a99c"},
    {{"8b.json", 40, 28},
     "0.05",
     "7e6c6b48636c4bf9c8a93645ed64897372c25eeb474b55773af1364f346e1f2c"},
    {{"8b.json", 40, 28},
     "0.04",
     "df2edc6185abab4eabd2f9915c5a06b85b5558bc112c0507bdab8b0c002a8e86"},
};

TEST(OfficialSchedulesTest, HashesOfOtherBudgetsAndBytesOfThePool) {
  if (!HasFolder()) return;
  const cache::ScaleLadder ladder = cache::InfinityLadder();
  for (const OfficialHash& known : kHashes) {
    const auto& [orders, layers, heads] = known.model;
    SCOPED_TRACE(testing::Message() << orders << " at " << known.budget);
    const absl::StatusOr<cache::Ranking> ranking =
        ReadOrders(kFolder / "orders" / orders, layers, heads, 3);
    ASSERT_TRUE(ranking.ok()) << ranking.status();
    const cache::Budget budget = *cache::Budget::Parse(known.budget);
    const absl::StatusOr<cache::Schedule> schedule =
        cache::SolveHeatKv(ladder, layers, heads, *ranking, budget);
    ASSERT_TRUE(schedule.ok()) << schedule.status();
    EXPECT_EQ(ScheduleSha256(*schedule), known.sha256);
    const cache::Trajectory trajectory(
        std::make_shared<const cache::Schedule>(*schedule),
        {.layers = layers,
         .heads = heads,
         .head_width = 128,
         .bytes_per_value = 2},
        2);
    EXPECT_LE(static_cast<double>(trajectory.peak_bytes()),
              1.03 * budget.fraction() *
                  static_cast<double>(trajectory.full_cache_bytes()));
  }
}

}  // namespace
}  // namespace heatkv::calibration
