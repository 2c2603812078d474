// The metrics of a server and the HTTP address, /metrics, where Prometheus
// finds them.  Owns its threads; the destructor ends them.
//
// This header shows no Prometheus type, so that a program can use it beside
// other libraries.
//
// Thread safety: any thread.

#ifndef SERVER_METRICS_METRICS_ENDPOINT_H_
#define SERVER_METRICS_METRICS_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/geometry.h"
#include "model/api/memory_account.h"
#include "server/engine/engine_stats.h"
#include "server/engine/observer.h"

namespace heatkv::server {

struct MetricsDevice {
  std::string name;  // "cuda:0"
  int gpu = 0;       // its number
};

struct MetricsOptions {
  std::string listen;   // host:port; port 0 takes a free one
  std::string version;  // of the server
  std::string model;
  std::string weights;  // their hash, or what they are instead
  std::vector<MetricsDevice> devices = {{}};  // the engine's, in their order
  cache::CacheGeometry geometry;
  int scales = 0;                    // of the longest ladder
  std::vector<std::string> tiers;    // that requests may name
  std::vector<std::string> tenants;  // with series of their own
  std::vector<model::MemoryAccount> memory;
};

class MetricsEndpoint {
 public:
  // Fails with Unavailable, naming the address, if it cannot listen there.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(
      const MetricsOptions& options);
  ~MetricsEndpoint();

  // Counts what it is told.  Lives as long as the endpoint.
  ServerObserver* observer();

  // Where each scrape takes the engine's statistics from, until it is set to
  // null; once this returns, the old source is not called any more.
  void SetSource(std::function<EngineStats()> source);

  // From now on.  Series of tiers and tenants that are gone stay.
  void SetTiers(const std::vector<std::string>& tiers);
  void SetTenants(const std::vector<std::string>& tenants);

  int port() const;

 private:
  struct State;
  explicit MetricsEndpoint(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace heatkv::server

#endif  // SERVER_METRICS_METRICS_ENDPOINT_H_
