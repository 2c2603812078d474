#include "server/rpc/admin_service.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/rpc/event_conversion.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/pool_watch.h"

namespace heatkv::server {
namespace {

constexpr int kThreads = 1;
constexpr int kListedUnlessSaid = 100;
constexpr int kMaxListed = 1 << 20;
constexpr absl::Duration kInterval = absl::Seconds(1);
constexpr absl::Duration kLeastInterval = absl::Milliseconds(100);

v1::FinishedRequest Describe(const EndedCall& ended) {
  const CallRecord& call = ended.call;
  v1::FinishedRequest proto;
  *proto.mutable_end_time() = ToProto(ended.end);
  proto.set_rpc(call.rpc);
  proto.set_request_id(call.request_id);
  proto.set_peer(call.peer);
  proto.set_tenant(call.tenant);
  proto.set_tier(call.tier);
  proto.mutable_status()->set_code(static_cast<int>(call.status.code()));
  proto.mutable_status()->set_message(std::string(call.status.message()));
  *proto.mutable_took() = ToProto(call.took);
  *proto.mutable_queued() = ToProto(call.usage.queue);
  proto.set_images_asked(call.images_asked);
  proto.set_images_done(call.usage.images);
  proto.set_peak_cache_bytes(call.usage.peak_cache_bytes);
  return proto;
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

// A stream that is refused.
class RefusedWatch final : public grpc::ServerWriteReactor<v1::PoolView> {
 public:
  explicit RefusedWatch(const absl::Status& status) {
    Finish(ToGrpcStatus(status));
  }
  void OnDone() override { delete this; }
};

}  // namespace

AdminService::AdminService(AdminActions actions, Engine* engine,
                           const FlightRecorder* recorder)
    : actions_(std::move(actions)),
      engine_(engine),
      recorder_(recorder),
      workers_(kThreads) {}

grpc::ServerUnaryReactor* AdminService::Answer(
    grpc::CallbackServerContext* context,
    std::function<absl::Status()> answer) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  workers_.Schedule([reactor, answer = std::move(answer)] {
    reactor->Finish(ToGrpcStatus(answer()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::GetPool(
    grpc::CallbackServerContext* context, const v1::GetPoolRequest* request,
    v1::PoolView* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_->ViewPool(
      request->per_head(), [this, reactor, response](PoolSnapshot snapshot) {
        workers_.Schedule([reactor, response, snapshot = std::move(snapshot)] {
          *response = ToProto(snapshot);
          reactor->Finish(grpc::Status::OK);
        });
      });
  return reactor;
}

grpc::ServerWriteReactor<v1::PoolView>* AdminService::WatchPool(
    grpc::CallbackServerContext*, const v1::WatchPoolRequest* request) {
  const absl::Duration interval =
      request->has_interval() ? ToDuration(request->interval()) : kInterval;
  if (interval < kLeastInterval) {
    return new RefusedWatch(absl::InvalidArgumentError(
        absl::StrCat("interval must be ", absl::FormatDuration(kLeastInterval),
                     " or more, but is ", absl::FormatDuration(interval))));
  }
  auto* watch =
      new PoolWatch(engine_, &workers_, request->per_head(), interval);
  watch->Start();
  return watch;
}

grpc::ServerUnaryReactor* AdminService::Drain(
    grpc::CallbackServerContext* context, const v1::DrainRequest*,
    v1::DrainResponse*) {
  return Answer(context, actions_.drain);
}

grpc::ServerUnaryReactor* AdminService::Undrain(
    grpc::CallbackServerContext* context, const v1::UndrainRequest*,
    v1::UndrainResponse*) {
  return Answer(context, actions_.undrain);
}

grpc::ServerUnaryReactor* AdminService::ApplyConfig(
    grpc::CallbackServerContext* context, const v1::ApplyConfigRequest* request,
    v1::ApplyConfigResponse* response) {
  return Answer(context, [this, request, response]() -> absl::Status {
    if (request->yaml().empty()) {
      return absl::InvalidArgumentError(
          "yaml is empty, but must be a whole configuration");
    }
    ASSIGN_OR_RETURN(
        const AppliedConfig config,
        actions_.apply_config(request->yaml(), request->dry_run()));
    for (const KeyChange& change : config.changes) {
      v1::ConfigChange* proto = response->add_changes();
      proto->set_key(change.key);
      proto->set_before(change.before);
      proto->set_after(change.after);
    }
    response->set_capacity(config.capacity);
    response->set_applied(config.applied);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::SetLogLevel(
    grpc::CallbackServerContext* context, const v1::SetLogLevelRequest* request,
    v1::SetLogLevelResponse* response) {
  return Answer(context, [this, request, response]() -> absl::Status {
    ASSIGN_OR_RETURN(std::string before,
                     actions_.set_log_level(request->level()));
    response->set_before(std::move(before));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::ListRequests(
    grpc::CallbackServerContext* context,
    const v1::ListRequestsRequest* request,
    v1::ListRequestsResponse* response) {
  return Answer(context, [this, request, response] {
    const int limit = request->limit() == 0
                          ? kListedUnlessSaid
                          : static_cast<int>(std::min<std::uint32_t>(
                                request->limit(), kMaxListed));
    for (const EndedCall& ended : recorder_->Last(limit)) {
      *response->add_requests() = Describe(ended);
    }
    return absl::OkStatus();
  });
}

}  // namespace heatkv::server
