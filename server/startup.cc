#include "server/startup.h"

#include <unistd.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "calibration/schedule_file.h"
#include "calibration/sha256.h"
#include "model/infinity_backend.h"
#include "server/config/capacity.h"

namespace heatkv::server {
namespace {

// Time for the last answers to leave once every request has ended.
constexpr absl::Duration kLastWrites = absl::Seconds(5);

std::int64_t MachineBytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) *
         sysconf(_SC_PAGESIZE);
}

absl::StatusOr<std::unique_ptr<model::ImageModel>> LoadModel(
    const ServingPlan& plan) {
  model::InfinityBackend::Options options;
  options.device = plan.config.device;
  options.threads = plan.config.threads;
  options.cache_dtype = plan.config.cache_dtype == CacheDtype::kFloat32
                            ? model::InfinityBackend::CacheDtype::kFloat32
                            : model::InfinityBackend::CacheDtype::kBFloat16;
  const std::string folder = plan.folder.path.string();
  auto model =
      model::InfinityBackend::Create(plan.folder.spec, folder, options);
  if (model.ok() || absl::StrContains(model.status().message(), folder)) {
    return model;
  }
  return absl::Status(model.status().code(),
                      absl::StrCat(folder, ": ", model.status().message()));
}

EngineOptions MakeEngineOptions(const ServingPlan& plan) {
  return {.pool_blocks = plan.pool_blocks,
          .max_running_images = plan.config.max_running_images,
          .max_waiting_requests = plan.config.max_queued_requests,
          .max_waiting_bytes = plan.config.max_queued_bytes,
          .cached_prompts = plan.config.cached_prompts};
}

PublicInterfaceOptions MakeInterfaceOptions(const ServerConfig& config,
                                            const std::string& version,
                                            const std::string& weights_sha256) {
  PublicInterfaceOptions options;
  options.listen = config.listen;
  options.reflection = config.reflection;
  options.default_tier = config.default_tier;
  options.max_images = config.max_images;
  options.max_prompt_bytes = config.max_prompt_bytes;
  options.max_request_time = config.max_request_time;
  options.heartbeat = config.heartbeat;
  options.encoder_threads = config.encoder_threads;
  options.server_version = version;
  options.model_sha256 = weights_sha256;
  options.sha256 = [](absl::string_view bytes) {
    return calibration::Sha256Hex({bytes.data(), bytes.size()});
  };
  return options;
}

}  // namespace

absl::StatusOr<ServingPlan> MakeServingPlan(const ServerConfig& config,
                                            StartFault* fault) {
  *fault = StartFault::kConfiguration;
  RETURN_IF_ERROR(Validate(config));
  *fault = StartFault::kModel;
  ASSIGN_OR_RETURN(ModelFolder folder, OpenModelFolder(config.model));
  *fault = StartFault::kConfiguration;
  const cache::CacheGeometry geometry =
      GeometryOf(folder.spec, config.cache_dtype);
  const cache::Ranking* ranking =
      folder.profile.has_value() ? &folder.profile->ranking : nullptr;
  ASSIGN_OR_RETURN(
      ScheduleBook book,
      ScheduleBook::Create(folder.spec, geometry, ranking, config.tiers,
                           calibration::ScheduleSha256));
  ASSIGN_OR_RETURN(const std::int64_t pool_blocks,
                   PoolBlocks(config.pool, MachineBytes(), geometry));
  return ServingPlan{config, std::move(folder), std::move(book), pool_blocks};
}

absl::StatusOr<std::unique_ptr<RunningServer>> RunningServer::Start(
    ServingPlan plan, const std::string& version, EventLog* log,
    StartFault* fault) {
  const absl::Time begin = absl::Now();
  *fault = StartFault::kModel;
  ASSIGN_OR_RETURN(std::unique_ptr<model::ImageModel> model, LoadModel(plan));
  ASSIGN_OR_RETURN(const std::string weights_sha256, HashWeights(plan.folder));
  RETURN_IF_ERROR(CheckProfileIsOf(plan.folder, weights_sha256));
  log->Write(LogLevel::kInfo, "model_loaded",
             {{"model", plan.folder.spec.name},
              {"sha256", weights_sha256},
              {"seconds", absl::ToDoubleSeconds(absl::Now() - begin)}});

  *fault = StartFault::kConfiguration;
  auto server = absl::WrapUnique(new RunningServer);
  ASSIGN_OR_RETURN(server->metrics_,
                   MetricsEndpoint::Start({.listen = plan.config.metrics_listen,
                                           .version = version,
                                           .model = plan.folder.spec.name,
                                           .geometry = plan.book.geometry()}));
  server->calls_ = std::make_unique<CallLog>(log, server->metrics_->observer());
  const EngineOptions engine_options = MakeEngineOptions(plan);
  ASSIGN_OR_RETURN(
      server->engine_,
      Engine::Create(engine_options, std::move(model), std::move(plan.book),
                     &server->clock_, server->calls_.get()));
  server->metrics_->SetSource(
      [engine = server->engine_.get()] { return engine->Stats(); });
  server->engine_->Start();
  ASSIGN_OR_RETURN(
      server->interface_,
      PublicInterface::Start(
          MakeInterfaceOptions(plan.config, version, weights_sha256),
          server->engine_.get(), server->calls_.get(), &server->clock_));
  return server;
}

RunningServer::~RunningServer() {
  if (engine_ != nullptr) engine_->Drain(absl::InfinitePast());
  if (interface_ != nullptr) {
    engine_->AwaitIdle(absl::InfiniteDuration());
    interface_->Shutdown(absl::Now() + kLastWrites);
  }
  if (metrics_ != nullptr) metrics_->SetSource(nullptr);
}

void RunningServer::BeginDrain(absl::Time deadline) {
  interface_->SetServing(false);
  engine_->Drain(deadline);
}

bool RunningServer::AwaitIdle(absl::Duration timeout) const {
  return engine_->AwaitIdle(timeout);
}

}  // namespace heatkv::server
