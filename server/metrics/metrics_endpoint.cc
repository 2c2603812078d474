#include "server/metrics/metrics_endpoint.h"

#include <exception>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "prometheus/exposer.h"

namespace heatkv::server {

MetricsEndpoint::MetricsEndpoint() = default;
MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& address, std::shared_ptr<Metrics> metrics) {
  auto endpoint = absl::WrapUnique(new MetricsEndpoint);
  endpoint->metrics_ = std::move(metrics);
  try {
    endpoint->exposer_ = std::make_unique<prometheus::Exposer>(address, 2);
    endpoint->exposer_->RegisterCollectable(endpoint->metrics_, "/metrics");
    endpoint->port_ = endpoint->exposer_->GetListeningPorts().at(0);
  } catch (const std::exception& e) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics at ", address, ": ", e.what()));
  }
  return endpoint;
}

}  // namespace heatkv::server
