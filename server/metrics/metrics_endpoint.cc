#include "server/metrics/metrics_endpoint.h"

#include <exception>
#include <string>
#include <utility>

#include "CivetServer.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "prometheus/exposer.h"
#include "server/metrics/metrics.h"

namespace heatkv::server {
namespace {

constexpr std::size_t kHttpThreads = 2;

// What the HTTP server complained of on this thread.  It starts on the thread
// that asks for it, and its exception does not tell why it failed.
thread_local std::string complaints;

CivetCallbacks Listener() {
  CivetCallbacks callbacks;
  callbacks.log_message = [](const mg_connection*, const char* message) {
    absl::StrAppend(&complaints, complaints.empty() ? "" : "; ", message);
    return 0;  // it may write its own log, too
  };
  return callbacks;
}

}  // namespace

struct MetricsEndpoint::State {
  explicit State(const MetricsOptions& options)
      : metrics(std::make_shared<Metrics>(options)) {}

  // Shared with the exposer, which keeps weak pointers.
  std::shared_ptr<Metrics> metrics;
  std::unique_ptr<prometheus::Exposer> exposer;
  int port = 0;
};

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<State> state)
    : state_(std::move(state)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const MetricsOptions& options) {
  auto state = std::make_unique<State>(options);
  const CivetCallbacks callbacks = Listener();
  complaints.clear();
  try {
    state->exposer = std::make_unique<prometheus::Exposer>(
        options.listen, kHttpThreads, &callbacks);
    state->exposer->RegisterCollectable(state->metrics, "/metrics");
    state->port = state->exposer->GetListeningPorts().at(0);
  } catch (const std::exception& e) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics at ", options.listen, ": ",
                     complaints.empty() ? e.what() : complaints));
  }
  return absl::WrapUnique(new MetricsEndpoint(std::move(state)));
}

ServerObserver* MetricsEndpoint::observer() { return state_->metrics.get(); }

void MetricsEndpoint::SetSource(std::function<EngineStats()> source) {
  state_->metrics->SetSource(std::move(source));
}

void MetricsEndpoint::SetTiers(const std::vector<std::string>& tiers) {
  state_->metrics->SetTiers(tiers);
}

void MetricsEndpoint::SetTenants(const std::vector<std::string>& tenants) {
  state_->metrics->SetTenants(tenants);
}

int MetricsEndpoint::port() const { return state_->port; }

}  // namespace heatkv::server
