#include "server/rpc/admin_interface.h"

#include <utility>

#include "absl/memory/memory.h"
#include "base/status_macros.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/grpc_server.h"

namespace heatkv::server {
namespace {

// A watch may go on for long.
constexpr absl::Duration kLongestCall = absl::Hours(24);

}  // namespace

struct AdminInterface::State {
  State(AdminActions actions, Engine* engine, const FlightRecorder* recorder)
      : service(std::move(actions), engine, recorder) {}

  // The server goes first.
  AdminService service;
  std::unique_ptr<GrpcServer> server;
};

AdminInterface::AdminInterface(std::unique_ptr<State> state)
    : state_(std::move(state)) {}

AdminInterface::~AdminInterface() {
  // What calls still use must not go.
  if (!Shutdown(absl::InfinitePast())) static_cast<void>(state_.release());
}

absl::StatusOr<std::unique_ptr<AdminInterface>> AdminInterface::Start(
    AdminInterfaceOptions options, Engine* engine,
    const FlightRecorder* recorder) {
  auto state =
      std::make_unique<State>(std::move(options.actions), engine, recorder);
  ASSIGN_OR_RETURN(state->server,
                   GrpcServer::Start({.address = options.listen,
                                      .reflection = options.reflection,
                                      .service_name = "heatkv.v1.Admin",
                                      .longest_call = kLongestCall},
                                     &state->service));
  state->server->SetServing("heatkv.v1.ImageGeneration", true);
  return absl::WrapUnique(new AdminInterface(std::move(state)));
}

int AdminInterface::port() const { return state_->server->port(); }

void AdminInterface::SetServing(bool serving) {
  state_->server->SetServing("heatkv.v1.ImageGeneration", serving);
}

bool AdminInterface::Shutdown(absl::Time deadline) {
  return state_->server->Shutdown(deadline);
}

}  // namespace heatkv::server
