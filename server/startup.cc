#include "server/startup.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "calibration/sha256.h"
#include "server/config/capacity.h"
#include "server/config/device_names.h"
#include "server/engine/forwarding_observer.h"
#include "server/load_model.h"

namespace heatkv::server {
namespace {

// Time for the last answers to leave once every request has ended.
constexpr absl::Duration kLastWrites = absl::Seconds(2);

constexpr int kRecordedCalls = 1000;

PublicInterfaceOptions MakeInterfaceOptions(const ServerConfig& config,
                                            const std::string& version,
                                            const std::string& weights) {
  PublicInterfaceOptions options;
  options.listen = config.listen;
  options.reflection = config.reflection;
  options.default_tier = config.default_tier;
  options.max_images = config.max_images;
  options.max_prompt_bytes = config.max_prompt_bytes;
  options.max_request_time = config.max_request_time;
  options.heartbeat = config.heartbeat;
  options.stall_timeout = config.stall_timeout;
  options.outbox_bytes = config.outbox_bytes;
  options.jobs = {.max_jobs = config.jobs.max_jobs,
                  .max_bytes = config.jobs.max_bytes,
                  .ttl = config.jobs.keep_for,
                  .folder = config.jobs.folder};
  options.encoder_threads = config.encoder_threads;
  options.server_version = version;
  options.model_sha256 = weights;
  options.sha256 = [](absl::string_view bytes) {
    return calibration::Sha256Hex({bytes.data(), bytes.size()});
  };
  return options;
}

std::vector<std::string> TierNames(const ServerConfig& config) {
  std::vector<std::string> names;
  for (const TierSpec& tier : config.tiers) names.push_back(tier.name);
  return names;
}

std::vector<std::string> TenantNames(const ServerConfig& config) {
  std::vector<std::string> names;
  for (const auto& [name, weight] : config.tenants) names.push_back(name);
  return names;
}

MetricsOptions MakeMetricsOptions(const ServingPlan& plan,
                                  const std::string& version,
                                  const std::string& weights) {
  MetricsOptions options;
  options.listen = plan.config.metrics_listen;
  options.version = version;
  options.model = plan.folder.spec.name;
  options.weights = weights;
  options.devices.clear();
  for (const std::string& device : plan.devices) {
    options.devices.push_back({.name = device, .gpu = GpuNumber(device)});
  }
  options.memory = plan.memory;
  options.geometry = plan.book->geometry();
  for (const model::LadderSpec& ladder : plan.folder.spec.ladders) {
    options.scales = std::max(options.scales, ladder.ladder.num_scales());
  }
  options.tiers = TierNames(plan.config);
  options.tenants = TenantNames(plan.config);
  return options;
}

// Tells the server, too, how the model is, and the log how each of several
// devices is.
class HealthObserver final : public ForwardingObserver {
 public:
  HealthObserver(ServerObserver* next, EventLog* log,
                 std::function<void(const absl::Status&)> on_model_health)
      : ForwardingObserver(next),
        log_(log),
        on_model_health_(std::move(on_model_health)) {}

  void OnModelHealth(const absl::Status& status) override {
    on_model_health_(status);
    ForwardingObserver::OnModelHealth(status);
  }
  void OnDeviceHealth(const std::string& device,
                      const absl::Status& status) override {
    if (status.ok()) {
      log_->Write(LogLevel::kInfo, "device_well", {{"device", device}});
    } else {
      log_->Write(LogLevel::kError, "device_unwell",
                  {{"device", device}, {"message", status.message()}});
    }
    ForwardingObserver::OnDeviceHealth(device, status);
  }

 private:
  EventLog* const log_;
  const std::function<void(const absl::Status&)> on_model_health_;
};

// Whether everything fits, before anything large is allocated.
absl::Status CheckMemory(const ServingPlan& plan, EventLog* log) {
  for (const model::MemoryAccount& account : plan.memory) {
    log->Write(LogLevel::kInfo, "memory",
               {{"device", account.device},
                {"available_bytes", account.available},
                {"needed_bytes", account.total()},
                {"left_bytes", account.left()},
                {"parts", model::DescribeParts(account.parts)}});
    RETURN_IF_ERROR(model::CheckFits(account));
  }
  return absl::OkStatus();
}

// The same for what is still to come, with what is really left.
absl::Status CheckMemoryOnceLoaded(const ServingPlan& plan, EventLog* log) {
  for (const model::MemoryAccount& account : plan.memory) {
    ASSIGN_OR_RETURN(const model::DeviceMemory memory,
                     ReadDeviceMemory(account.device));
    log->Write(LogLevel::kInfo, "memory_once_loaded",
               {{"device", account.device},
                {"available_bytes", memory.available},
                {"needed_bytes", account.not_loaded()}});
    RETURN_IF_ERROR(model::CheckRestFits(account, memory.available));
  }
  return absl::OkStatus();
}

// A line every few seconds.  Sizes are warmed up one after the other, which
// takes a while if there are many.
model::ImageModel::WarmUpProgress WarmUpLog(const std::string& device,
                                            EventLog* log) {
  constexpr absl::Duration kPause = absl::Seconds(2);
  return [device, log, begin = absl::Now(), last = absl::InfinitePast()](
             int done, int of) mutable {
    const absl::Time now = absl::Now();
    if (now - last < kPause && done < of) return;
    last = now;
    log->Write(LogLevel::kInfo, "warming_up",
               {{"device", device},
                {"images", done},
                {"of", of},
                {"seconds", absl::ToDoubleSeconds(now - begin)}});
  };
}

// Until nothing is left that only a first request would do.
absl::Status AwaitWarm(const ServingPlan& plan, const Engine& engine,
                       EventLog* log) {
  const absl::Time begin = absl::Now();
  if (const absl::Status warm = engine.AwaitWarm(); !warm.ok()) {
    return absl::Status(warm.code(), absl::StrCat("the model cannot compute: ",
                                                  warm.message()));
  }
  log->Write(LogLevel::kInfo,
             plan.config.warm_up == WarmUp::kNone ? "not_warmed" : "warm",
             {{"seconds", absl::ToDoubleSeconds(absl::Now() - begin)}});
  for (const model::MemoryAccount& account : plan.memory) {
    ASSIGN_OR_RETURN(const model::DeviceMemory memory,
                     ReadDeviceMemory(account.device));
    log->Write(LogLevel::kInfo, "memory_once_warm",
               {{"device", account.device},
                {"available_bytes", memory.available},
                {"planned_left_bytes", account.left()}});
  }
  return absl::OkStatus();
}

AppliedConfig ToAdmin(ConfigOutcome outcome) {
  AppliedConfig config;
  for (ConfigDifference& change : outcome.changes) {
    config.changes.push_back({std::move(change.key), std::move(change.before),
                              std::move(change.after)});
  }
  config.capacity = std::move(outcome.capacity);
  config.applied = outcome.applied;
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunningServer>> RunningServer::Start(
    ServingPlan plan, const std::string& version,
    std::function<void(ServerConfig*)> command_line, EventLog* log,
    StartFault* fault) {
  *fault = StartFault::kConfiguration;
  RETURN_IF_ERROR(CheckMemory(plan, log));
  if (const std::string shortage =
          DescribeShortage(plan.folder.spec, *plan.book,
                           plan.config.default_tier, plan.pool_blocks);
      !shortage.empty()) {
    log->Write(LogLevel::kWarning, "small_pool", {{"message", shortage}});
  }
  const absl::Time begin = absl::Now();
  *fault = StartFault::kModel;
  std::vector<DeviceModel> models;
  for (const std::string& device : plan.devices) {
    ASSIGN_OR_RETURN(std::unique_ptr<model::ImageModel> model,
                     LoadModel(plan, device));
    model->TellWarmUpTo(WarmUpLog(device, log));
    models.push_back({device, std::move(model)});
  }
  ASSIGN_OR_RETURN(const std::string weights, DescribeWeights(plan.folder));
  RETURN_IF_ERROR(CheckProfileIsOf(plan.folder, weights));
  log->Write(LogLevel::kInfo, "model_loaded",
             {{"model", plan.folder.spec.name},
              {"weights", weights},
              {"seconds", absl::ToDoubleSeconds(absl::Now() - begin)}});
  if (plan.folder.random_weights.has_value()) {
    log->Write(LogLevel::kWarning, "random_weights",
               {{"weights", weights},
                {"message", "pictures are noise; for measurements only"}});
  }

  *fault = StartFault::kConfiguration;
  RETURN_IF_ERROR(CheckMemoryOnceLoaded(plan, log));
  const ServerConfig& config = plan.config;
  auto server = absl::WrapUnique(new RunningServer);
  server->log_ = log;
  ASSIGN_OR_RETURN(server->metrics_, MetricsEndpoint::Start(MakeMetricsOptions(
                                         plan, version, weights)));
  server->recorder_ = std::make_unique<FlightRecorder>(
      kRecordedCalls, &server->clock_, server->metrics_->observer());
  server->calls_ = std::make_unique<CallLog>(log, server->recorder_.get());
  server->health_ = std::make_unique<HealthObserver>(
      server->calls_.get(), log,
      [server = server.get()](const absl::Status& status) {
        server->OnModelHealth(status);
      });
  ASSIGN_OR_RETURN(
      server->engine_,
      Engine::Create({.pool_blocks = plan.pool_blocks,
                      .scheduler = SchedulingOf(config, plan.pool_blocks),
                      .cached_prompts = config.cached_prompts,
                      .cached_prompt_bytes = config.cached_prompt_bytes},
                     std::move(models), plan.book, &server->clock_,
                     server->health_.get()));
  server->metrics_->SetSource(
      [engine = server->engine_.get()] { return engine->Stats(); });
  server->engine_->Start();
  RETURN_IF_ERROR(AwaitWarm(plan, *server->engine_, log));
  ASSIGN_OR_RETURN(
      server->interface_,
      PublicInterface::Start(MakeInterfaceOptions(config, version, weights),
                             server->engine_.get(), server->calls_.get(),
                             &server->clock_));
  server->live_config_ = std::make_unique<LiveConfig>(
      LiveConfigOptions{
          .config = config,
          .device_bytes = plan.device_bytes,
          .folder = plan.folder,
          .command_line = std::move(command_line),
          .change =
              [server = server.get()](
                  const ServerConfig& next,
                  const std::function<absl::Status()>& reconfigure) {
                return server->interface_->ChangeTiers(next.default_tier,
                                                       reconfigure);
              },
          .on_change =
              [server = server.get()](const ServerConfig& changed) {
                server->metrics_->SetTiers(TierNames(changed));
                server->metrics_->SetTenants(TenantNames(changed));
              }},
      server->engine_.get(), log);
  // An operator may be quick.
  const std::lock_guard<std::mutex> lock(server->mutex_);
  ASSIGN_OR_RETURN(
      server->admin_,
      AdminInterface::Start({.listen = config.admin_listen,
                             .reflection = config.reflection,
                             .actions = server->MakeAdminActions()},
                            server->engine_.get(), server->recorder_.get()));
  return server;
}

AdminActions RunningServer::MakeAdminActions() {
  AdminActions actions;
  actions.drain = [this] { return Drain(); };
  actions.undrain = [this] { return Undrain(); };
  actions.apply_config = [this](const std::string& yaml,
                                bool dry_run) -> absl::StatusOr<AppliedConfig> {
    ASSIGN_OR_RETURN(ConfigOutcome outcome, live_config_->Apply(yaml, dry_run));
    return ToAdmin(std::move(outcome));
  };
  actions.set_log_level = [this](const std::string& level) {
    return live_config_->SetLogLevel(level);
  };
  return actions;
}

RunningServer::~RunningServer() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  if (engine_ != nullptr) engine_->Drain(absl::InfinitePast());
  if (interface_ != nullptr) engine_->AwaitIdle(absl::InfiniteDuration());
  admin_ = nullptr;
  interface_ = nullptr;
  if (metrics_ != nullptr) metrics_->SetSource(nullptr);
}

void RunningServer::UpdateServing(const std::string& reason) {
  const bool is_serving = !is_draining_ && !is_stopping_ && is_well_;
  interface_->SetServing(is_serving);
  admin_->SetServing(is_serving);
  log_->Write(LogLevel::kInfo, is_serving ? "serving" : "not_serving",
              {{"reason", reason}});
}

void RunningServer::OnModelHealth(const absl::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Before the first request nothing fails; while it stops, nobody asks.
  if (is_stopping_ || admin_ == nullptr) return;
  is_well_ = status.ok();
  UpdateServing(
      is_well_ ? "the model computes again"
               : absl::StrCat("the model cannot compute: ", status.message()));
}

absl::Status RunningServer::Drain() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_stopping_) return absl::OkStatus();
  is_draining_ = true;
  UpdateServing("drain");
  engine_->Drain(absl::InfiniteFuture());
  return absl::OkStatus();
}

absl::Status RunningServer::Undrain() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_stopping_) {
    return absl::FailedPreconditionError(
        "the server was told to stop and cannot be undrained");
  }
  engine_->Undrain();
  is_draining_ = false;
  UpdateServing("undrain");
  return absl::OkStatus();
}

void RunningServer::BeginStop(absl::Time deadline) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!is_stopping_) {
    is_stopping_ = true;
    UpdateServing("stop");
  }
  engine_->Drain(deadline);
}

bool RunningServer::AwaitIdle(absl::Duration timeout) const {
  return engine_->AwaitIdle(timeout);
}

bool RunningServer::Stop() {
  BeginStop(absl::InfinitePast());
  engine_->AwaitIdle(absl::InfiniteDuration());
  return interface_->Shutdown(absl::Now() + kLastWrites) &&
         admin_->Shutdown(absl::Now());
}

}  // namespace heatkv::server
