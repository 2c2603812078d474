#include "server/live_config.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/config/capacity.h"
#include "server/serving_plan.h"

namespace heatkv::server {
namespace {

// What messages call a text that came over the wire.
constexpr char kText[] = "config";

std::string ToText(const ConfigDifference& change) {
  const auto value = [](const std::string& text) {
    return text.empty() ? "nothing" : text;
  };
  return absl::StrCat(change.key, " from ", value(change.before), " to ",
                      value(change.after));
}

std::string ToText(const std::vector<ConfigDifference>& changes) {
  return absl::StrJoin(changes, ", ",
                       [](std::string* out, const ConfigDifference& change) {
                         out->append(ToText(change));
                       });
}

}  // namespace

LiveConfig::LiveConfig(LiveConfigOptions options, Engine* engine, EventLog* log)
    : options_(std::move(options)),
      engine_(engine),
      log_(log),
      config_(options_.config) {
  const auto level = ParseLogLevel(config_.log_level);
  HEATKV_CHECK(level.has_value()) << config_.log_level;
  log_->SetLevel(*level);
}

absl::Status LiveConfig::CheckChanges(
    const std::vector<ConfigDifference>& changes) const {
  std::vector<ConfigDifference> refused;
  for (const ConfigDifference& change : changes) {
    if (!change.is_live) refused.push_back(change);
  }
  if (refused.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("needs a restart: ", ToText(refused)));
}

absl::StatusOr<ConfigOutcome> LiveConfig::Apply(const std::string& yaml,
                                                bool dry_run) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(ServerConfig config, ParseServerConfig(yaml, kText));
  if (options_.command_line) options_.command_line(&config);
  ConfigOutcome outcome;
  outcome.changes = CompareConfigs(config_, config);
  RETURN_IF_ERROR(CheckChanges(outcome.changes));
  ASSIGN_OR_RETURN(
      std::int64_t blocks,
      CountPoolBlocks(config, options_.device_bytes, options_.folder));
  // What suits the device was found out at the start.
  if (config.pool.is_automatic()) blocks = engine_->pool_blocks();
  std::shared_ptr<const ScheduleBook> book = engine_->schedules();
  const std::int64_t block_bytes = book->geometry().block_bytes();
  if (blocks > engine_->pool_blocks()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cache.pool of ", blocks * block_bytes, " bytes is more than the ",
        engine_->pool_blocks() * block_bytes,
        " bytes that were allocated at the start: a larger pool needs a "
        "restart"));
  }
  if (config.tiers != config_.tiers) {
    ASSIGN_OR_RETURN(book, MakeScheduleBook(config, options_.folder));
  }
  outcome.capacity = DescribeCapacity(options_.folder.spec, *book, blocks);
  if (dry_run) return outcome;
  const std::function<absl::Status()> reconfigure = [&] {
    return engine_->Reconfigure(SchedulingOf(config, blocks), book);
  };
  RETURN_IF_ERROR(options_.change ? options_.change(config, reconfigure)
                                  : reconfigure());
  log_->Write(LogLevel::kInfo, "config_applied",
              {{"changes", ToText(outcome.changes)}});
  Adopt(std::move(config));
  outcome.applied = true;
  return outcome;
}

absl::StatusOr<std::string> LiveConfig::SetLogLevel(absl::string_view level) {
  if (!ParseLogLevel(level).has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the log level must be info, warning or error, but is \"",
                     level, "\""));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  ServerConfig config = config_;
  config.log_level = std::string(level);
  std::string before = config_.log_level;
  Adopt(std::move(config));
  return before;
}

ServerConfig LiveConfig::Current() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return config_;
}

void LiveConfig::Adopt(ServerConfig config) {
  config_ = std::move(config);
  log_->SetLevel(*ParseLogLevel(config_.log_level));
  if (options_.on_change) options_.on_change(config_);
}

}  // namespace heatkv::server
