// Serves metrics over HTTP at /metrics, for Prometheus.  Owns its threads; the
// destructor ends them.

#ifndef SERVER_METRICS_METRICS_ENDPOINT_H_
#define SERVER_METRICS_METRICS_ENDPOINT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/metrics/metrics.h"

namespace prometheus {
class Exposer;
}

namespace heatkv::server {

class MetricsEndpoint {
 public:
  // Listens at `address` (host:port; port 0 takes a free one).  `metrics` is
  // shared with those who report to it.  Fails with Unavailable, naming the
  // address, if it cannot listen there.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(
      const std::string& address, std::shared_ptr<Metrics> metrics);
  ~MetricsEndpoint();

  int port() const { return port_; }

 private:
  MetricsEndpoint();

  std::shared_ptr<Metrics> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  int port_ = 0;
};

}  // namespace heatkv::server

#endif  // SERVER_METRICS_METRICS_ENDPOINT_H_
