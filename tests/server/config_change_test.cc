// Two configurations compared key by key.

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/config_entries.h"

namespace heatkv::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ConfigChangeTest, TheSameConfigurationDiffersInNothing) {
  EXPECT_THAT(CompareConfigs(ServerConfig(), ServerConfig()), IsEmpty());
}

TEST(ConfigChangeTest, NamesEveryKeyThatDiffersWithBothValues) {
  ServerConfig before;
  before.tenants = {{"a", 1}, {"b", 2}};
  ServerConfig after = before;
  after.listen = "0.0.0.0:1";
  after.pool.fraction = 0.07;
  after.tiers[1].budget = *cache::Budget::Create(0.3);
  after.tiers.pop_back();
  after.tiers.push_back({"mini", *cache::Budget::Create(0.08)});
  after.tenants = {{"a", 1}, {"c", 0.5}};
  after.policy = SchedulingPolicy::kPreview;
  EXPECT_THAT(
      CompareConfigs(before, after),
      ElementsAre(
          ConfigDifference{"listen", "\"127.0.0.1:50051\"", "\"0.0.0.0:1\"",
                           false},
          ConfigDifference{"cache.pool", "auto", "\"7 %\"", true},
          ConfigDifference{"tiers.high", "0.2", "0.3", true},
          ConfigDifference{"tiers.mini", "", "0.08", true},
          ConfigDifference{"scheduling.policy", "latency", "preview", true},
          ConfigDifference{"tenants.c", "", "0.5", true},
          ConfigDifference{"tiers.economy", "0.06", "", true},
          ConfigDifference{"tenants.b", "2", "", true}));
}

TEST(ConfigChangeTest, SaysWhichKeysARunningServerCanChange) {
  ServerConfig config;
  config.tenants = {{"a", 1}};
  std::set<std::string> live;
  for (const ConfigEntry& entry : ConfigEntries(config)) {
    if (entry.is_live) live.insert(entry.path());
  }
  EXPECT_EQ(live,
            (std::set<std::string>{
                "cache.pool", "tiers.full", "tiers.high", "tiers.standard",
                "tiers.economy", "default_tier", "scheduling.policy",
                "scheduling.aging", "scheduling.max_running_images",
                "tenants.a", "limits.max_queued_requests",
                "limits.max_queued_bytes", "log_level"}));
}

}  // namespace
}  // namespace heatkv::server
