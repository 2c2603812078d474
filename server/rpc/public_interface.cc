#include "server/rpc/public_interface.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "server/rpc/call_services.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/image_generation_service.h"
#include "server/rpc/worker_pool.h"

namespace heatkv::server {
namespace {

// 32 bits, so that a person can type a seed again.
std::uint64_t DrawSeed() {
  thread_local absl::BitGen random;
  return absl::Uniform<std::uint32_t>(random);
}

std::string MakeRequestId() {
  thread_local absl::BitGen random;
  return absl::StrFormat("%016x", absl::Uniform<std::uint64_t>(random));
}

}  // namespace

struct PublicInterface::State {
  State(const PublicInterfaceOptions& options, Engine* engine,
        ServerObserver* observer, const Clock* clock)
      : encoders(options.encoder_threads),
        services{.engine = engine,
                 .encoders = &encoders,
                 .observer = observer,
                 .clock = clock,
                 .rules = {.spec = &engine->spec(),
                           .book = &engine->schedules(),
                           .default_tier = options.default_tier,
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
                 .max_request_time = options.max_request_time},
        service(&services, options.heartbeat) {}

  // The server goes first, then the service, then the encoders.
  WorkerPool encoders;
  CallServices services;
  ImageGenerationService service;
  std::unique_ptr<GrpcServer> server;
};

PublicInterface::PublicInterface(std::unique_ptr<State> state)
    : state_(std::move(state)) {}

PublicInterface::~PublicInterface() = default;

absl::StatusOr<std::unique_ptr<PublicInterface>> PublicInterface::Start(
    const PublicInterfaceOptions& options, Engine* engine,
    ServerObserver* observer, const Clock* clock) {
  auto state = std::make_unique<State>(options, engine, observer, clock);
  ASSIGN_OR_RETURN(
      state->server,
      GrpcServer::Start(options.listen, options.reflection, &state->service));
  return absl::WrapUnique(new PublicInterface(std::move(state)));
}

int PublicInterface::port() const { return state_->server->port(); }

void PublicInterface::SetServing(bool serving) {
  state_->server->SetServing(serving);
}

void PublicInterface::Shutdown(absl::Time deadline) {
  state_->server->Shutdown(deadline);
}

}  // namespace heatkv::server
