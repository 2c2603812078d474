#include "server/rpc/public_interface.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/rpc/call_services.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/image_generation_service.h"
#include "server/rpc/job_book.h"
#include "server/rpc/result_folder.h"
#include "server/rpc/result_store.h"
#include "server/rpc/worker_pool.h"

namespace heatkv::server {
namespace {

// How long after its deadline a shutdown may take.
constexpr absl::Duration kGrace = absl::Seconds(2);

// 32 bits, so that a person can type a seed again.
std::uint64_t DrawSeed() {
  thread_local absl::BitGen random;
  return absl::Uniform<std::uint32_t>(random);
}

std::string MakeRequestId() {
  thread_local absl::BitGen random;
  return absl::StrFormat("%016x", absl::Uniform<std::uint64_t>(random));
}

// What tiers requests may name; may change while the server runs, but never
// between the one half and the other.
class TiersInForce {
 public:
  TiersInForce(const Engine* engine, std::string default_tier)
      : engine_(engine), default_tier_(std::move(default_tier)) {}

  TierOffer Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {engine_->schedules(), default_tier_};
  }

  absl::Status Change(std::string default_tier,
                      const std::function<absl::Status()>& reconfigure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    RETURN_IF_ERROR(reconfigure());
    default_tier_ = std::move(default_tier);
    return absl::OkStatus();
  }

 private:
  const Engine* const engine_;
  mutable std::mutex mutex_;
  std::string default_tier_;  // guarded by mutex_
};

}  // namespace

struct PublicInterface::State {
  State(const PublicInterfaceOptions& options,
        std::unique_ptr<ResultStore> result_store, Engine* engine,
        ServerObserver* observer, const Clock* clock)
      : tiers(engine, options.default_tier),
        results(std::move(result_store)),
        jobs(options.jobs, clock),
        encoders(options.encoder_threads),
        services{.engine = engine,
                 .encoders = &encoders,
                 .calls = &calls,
                 .observer = observer,
                 .clock = clock,
                 .rules = {.spec = &engine->spec(),
                           .offer = [this] { return tiers.Get(); },
                           .max_images = options.max_images,
                           .max_prompt_bytes = options.max_prompt_bytes,
                           .count_tokens =
                               [engine](absl::string_view prompt) {
                                 return engine->CountTokens(prompt);
                               },
                           .draw_seed = DrawSeed,
                           .make_request_id = MakeRequestId},
                 .server_version = options.server_version,
                 .model_sha256 = options.model_sha256,
                 .sha256 = options.sha256,
                 .max_request_time = options.max_request_time,
                 .heartbeat = options.heartbeat,
                 .stall_timeout = options.stall_timeout,
                 .outbox_bytes = options.outbox_bytes},
        service(&services, &jobs, results.get()) {}

  // The server goes first, then the service, then the encoders, which still put
  // pictures into the jobs.
  TiersInForce tiers;
  CallCount calls;
  std::unique_ptr<ResultStore> results;
  JobBook jobs;
  WorkerPool encoders;
  CallServices services;
  ImageGenerationService service;
  std::unique_ptr<GrpcServer> server;
};

PublicInterface::PublicInterface(std::unique_ptr<State> state)
    : state_(std::move(state)) {}

PublicInterface::~PublicInterface() {
  // What calls still use must not go.
  if (!Shutdown(absl::Now())) static_cast<void>(state_.release());
}

absl::StatusOr<std::unique_ptr<PublicInterface>> PublicInterface::Start(
    const PublicInterfaceOptions& options, Engine* engine,
    ServerObserver* observer, const Clock* clock) {
  std::unique_ptr<ResultStore> results = MakeMemoryStore();
  if (!options.jobs.folder.empty()) {
    ASSIGN_OR_RETURN(results, OpenResultFolder(options.jobs.folder));
  }
  auto state = std::make_unique<State>(options, std::move(results), engine,
                                       observer, clock);
  ASSIGN_OR_RETURN(
      state->server,
      GrpcServer::Start(
          {.address = options.listen,
           .reflection = options.reflection,
           .service_name = "heatkv.v1.ImageGeneration",
           .longest_call = options.max_request_time + absl::Minutes(1)},
          &state->service));
  return absl::WrapUnique(new PublicInterface(std::move(state)));
}

int PublicInterface::port() const { return state_->server->port(); }

void PublicInterface::SetServing(bool serving) {
  state_->server->SetServing(serving);
}

absl::Status PublicInterface::ChangeTiers(
    std::string default_tier,
    const std::function<absl::Status()>& reconfigure) {
  return state_->tiers.Change(std::move(default_tier), reconfigure);
}

bool PublicInterface::Shutdown(absl::Time deadline) {
  const absl::Time last = std::max(deadline, absl::Now()) + kGrace;
  // gRPC's calls first, then what the engine and the encoders do for calls
  // whose clients are gone.
  return state_->server->Shutdown(deadline, kGrace) &&
         state_->calls.AwaitNone(
             std::clamp(last - absl::Now(), absl::ZeroDuration(), kGrace));
}

}  // namespace heatkv::server
