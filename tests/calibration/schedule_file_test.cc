#include "calibration/schedule_file.h"

#include <string>

#include "cache/heatkv_solver.h"
#include "calibration/json_text.h"
#include "calibration/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::calibration {
namespace {

using nlohmann::ordered_json;

// Scales of 4, 12, 64 tokens, 1 sink; at a budget of 0.25 only sinks stay.
cache::Schedule SinksOnly(int layers, int heads) {
  const cache::ScaleLadder ladder =
      *cache::ScaleLadder::Create({{2, 2}, {2, 6}, {8, 8}}, 1);
  return *cache::SolveHeatKv(ladder, layers, heads,
                             cache::RandomRanking(ladder, layers, heads, 1),
                             *cache::Budget::Create(0.25));
}

TEST(Sha256Test, AgreesWithPublishedDigests) {
  EXPECT_EQ(Sha256Hex(""),
            "e3b0c44298fc1c149afbf4c8996fb924"
            "27ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223"
            "b00361a396177a9cb410ff61f20015ad");
}

TEST(JsonTextTest, WritesWhatPythonWrites) {
  ordered_json value = ordered_json::object();
  value["b"] = {1, 2.5, 0.1, true, nullptr};
  value["a"] = "caf\u00e9 \"x\"\n";
  value["e"] = ordered_json::object();
  value["l"] = ordered_json::array();
  EXPECT_EQ(ToPythonText(value),
            R"({"b": [1, 2.5, 0.1, true, null], )"
            R"("a": "caf\u00e9 \"x\"\n", "e": {}, "l": []})");
}

TEST(ScheduleFileTest, HashIsOfTheRemovedHeadsAsPythonSortsThem) {
  EXPECT_EQ(ScheduleSha256(SinksOnly(1, 2)),
            Sha256Hex(R"({"0": {"1": {"0": []}}, "1": {"1": {"0": []}}, )"
                      R"("2": {"1": {"0": [0, 1]}}})"));
}

TEST(ScheduleFileTest, KeysOfTheHashSortAsTexts) {
  // 11 layers: "10" comes before "2".
  std::string layers;
  for (const char* layer :
       {"0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"}) {
    layers += (layers.empty() ? "\"" : ", \"") + std::string(layer) + "\": [0]";
  }
  const auto empty = [&] {
    std::string text = layers;
    for (auto at = text.find("[0]"); at != std::string::npos;
         at = text.find("[0]")) {
      text.replace(at, 3, "[]");
    }
    return text;
  }();
  EXPECT_EQ(ScheduleSha256(SinksOnly(11, 1)),
            Sha256Hex("{\"0\": {\"1\": {" + empty + "}}, \"1\": {\"1\": {" +
                      empty + "}}, \"2\": {\"1\": {" + layers + "}}}"));
}

TEST(ScheduleFileTest, WritesEveryMemberInOrder) {
  const cache::Schedule schedule = SinksOnly(2, 6);
  EXPECT_EQ(ToPythonText(ScheduleToJson("tiny", schedule)),
            R"({"model": "tiny", "budget": 0.25, "sink_scales": 1, )"
            R"("heads_dropped_per_source_scale": {"0": 0, "1": 0, "2": 12}, )"
            R"("early_pruned_atoms": {"0": 0, "1": 0, "2": 0}, )"
            R"("removed_total": {"0": 0, "1": 0, "2": 12}, "sha256": ")" +
                ScheduleSha256(schedule) +
                R"(", "removed_head_masks": {"0": {"1": "0000"}, )"
                R"("1": {"1": "0000"}, "2": {"1": "3f3f"}}})");
}

TEST(ScheduleFileTest, MasksNameTheRemovedHeads) {
  for (int seed = 0; seed < 50; ++seed) {
    const cache::RandomCase c = cache::MakeRandomCase(seed);
    const absl::StatusOr<cache::Schedule> schedule = cache::SolveHeatKv(
        c.ladder, c.geometry.layers, c.geometry.heads, c.ranking, c.budget);
    if (!schedule.ok()) continue;
    const ordered_json masks =
        ScheduleToJson("m", *schedule)["removed_head_masks"];
    const int digits = (c.geometry.heads + 3) / 4;
    for (int t = 0; t < c.ladder.num_scales(); ++t) {
      for (int s = c.ladder.first_prunable(); s < c.ladder.end_prunable();
           ++s) {
        const std::string text =
            masks[std::to_string(t)][std::to_string(s)].get<std::string>();
        ASSERT_EQ(text.size(), digits * c.geometry.layers);
        for (int l = 0; l < c.geometry.layers; ++l) {
          const int mask =
              std::stoi(text.substr(l * digits, digits), nullptr, 16);
          for (int h = 0; h < c.geometry.heads; ++h) {
            EXPECT_EQ((mask >> h) & 1,
                      schedule->IsRemoved(t, s, {.layer = l, .head = h}))
                << "seed " << seed;
          }
        }
      }
    }
  }
}

TEST(ScheduleFileTest, FullScheduleRemovesNothingAndHasItsOwnHash) {
  const cache::ScaleLadder ladder = cache::InfinityLadder();
  const cache::Schedule full = cache::FullSchedule(ladder, 2, 2);
  const cache::Schedule half =
      *cache::SolveHeatKv(ladder, 2, 2, cache::RandomRanking(ladder, 2, 2, 1),
                          *cache::Budget::Create(0.5));
  EXPECT_NE(ScheduleSha256(full), ScheduleSha256(half));
  EXPECT_EQ(ScheduleToJson("m", full)["removed_total"]["12"], 0);
}

}  // namespace
}  // namespace heatkv::calibration
