#include "server/rpc/grpc_server.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace heatkv::server {
namespace {

// A client may send a sign of life this often, and is sent one.
constexpr int kMinPingIntervalMs = 10'000;
constexpr int kKeepaliveMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kConnectionAgeMs = 30 * 60'000;

// Calls of one connection at once; further ones wait at the client.
constexpr int kMaxConcurrentStreams = 1024;
// Prompts are small.
constexpr int kMaxRequestBytes = 1 << 20;
// A written message counts as written only when all but this much of it has
// left the process, so that a reader who stalls is noticed, and what gRPC holds
// for him is about one message.  (What the kernel and the client's own gRPC
// hold is not ours to bound.)
constexpr int kWriteBufferBytes = 16 << 10;

// Linking gRPC's reflection library turns it on for every server; this turns it
// off for one.
class NoReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                         plugins) override {
    using grpc::reflection::ProtoServerReflectionPlugin;
    const auto is_reflection = [](const auto& plugin) {
      return dynamic_cast<ProtoServerReflectionPlugin*>(plugin.get()) !=
             nullptr;
    };
    plugins->erase(
        std::remove_if(plugins->begin(), plugins->end(), is_reflection),
        plugins->end());
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const GrpcServerOptions& options, grpc::Service* service) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  if (!options.reflection) builder.SetOption(std::make_unique<NoReflection>());
  auto server = absl::WrapUnique(new GrpcServer(options.service_name));
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(),
                           &server->port_);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  // Without this a second server on the same port would take half the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE,
                             kWriteBufferBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kConnectionAgeMs);
  builder.AddChannelArgument(
      GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
      static_cast<int>(absl::ToInt64Milliseconds(
          std::min(options.longest_call, absl::Hours(24)))));
  builder.RegisterService(service);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen at ", options.address,
        ": the address is in use, not ours, or its port is not allowed"));
  }
  server->SetServing(true);
  return server;
}

GrpcServer::~GrpcServer() { Shutdown(absl::Now()); }

void GrpcServer::SetServing(bool serving) {
  if (server_ == nullptr) return;
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus(serving);  // "" too
  health->SetServingStatus(service_name_, serving);
}

void GrpcServer::SetServing(const std::string& name, bool serving) {
  if (server_ == nullptr) return;
  server_->GetHealthCheckService()->SetServingStatus(name, serving);
}

bool GrpcServer::Shutdown(absl::Time deadline, absl::Duration grace) {
  if (server_ != nullptr) {
    // On a thread of its own, because it does not return while a call does not
    // end.
    std::promise<void> ended;
    ended_ = ended.get_future();
    std::thread([server = std::move(server_), deadline,
                 ended = std::move(ended)]() mutable {
      server->Shutdown(absl::ToChronoTime(deadline));
      server->Wait();
      server = nullptr;
      ended.set_value();
    }).detach();
  }
  if (!ended_.valid()) return true;  // never started
  const absl::Duration patience =
      std::max(deadline - absl::Now(), absl::ZeroDuration()) + grace;
  if (patience > absl::Hours(24 * 365)) {
    ended_.wait();
    return true;
  }
  return ended_.wait_for(absl::ToChronoNanoseconds(patience)) ==
         std::future_status::ready;
}

}  // namespace heatkv::server
