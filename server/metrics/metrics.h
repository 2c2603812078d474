// The server's metrics: counts what a ServerObserver is told, and reads the
// engine's statistics whenever somebody scrapes.
//
// Owns its registry; there is no global one.  All series of heads are
// registered once, at the start.
//
// Thread safety: every method may be called from any thread.

#ifndef SERVER_METRICS_METRICS_H_
#define SERVER_METRICS_METRICS_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "server/engine/engine_stats.h"
#include "server/engine/observer.h"
#include "server/metrics/metrics_endpoint.h"

namespace heatkv::server {

// The name of a gRPC status code: "OK", "INVALID_ARGUMENT".
const char* CodeName(absl::StatusCode code);

class Metrics final : public ServerObserver, public prometheus::Collectable {
 public:
  explicit Metrics(const MetricsOptions& options);

  // Where statistics come from from now on, until it is called with null.  The
  // source is called from whichever thread scrapes.
  void SetSource(std::function<EngineStats()> source);

  void OnCall(const CallRecord& call) override;
  void OnStage(Stage stage, absl::Duration took) override;
  void OnScale(int scale, absl::Duration took) override;
  void OnImage(const std::string& tier, const absl::Status& status) override;

  // All metrics, the engine's as they are now.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void Update(const EngineStats& stats) const;

  const std::string gpu_;
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>* requests_;
  prometheus::Family<prometheus::Counter>* images_;
  prometheus::Family<prometheus::Histogram>* request_duration_;
  prometheus::Family<prometheus::Histogram>* stage_duration_;
  prometheus::Family<prometheus::Histogram>* scale_duration_;
  std::vector<prometheus::Gauge*> cache_bytes_;  // [layer * heads + head]
  prometheus::Gauge* pool_used_;
  prometheus::Gauge* pool_reserved_;
  prometheus::Gauge* pool_free_;
  prometheus::Gauge* pool_limit_;
  prometheus::Gauge* pool_high_water_;
  prometheus::Gauge* plan_error_;
  prometheus::Gauge* requests_running_;
  prometheus::Gauge* images_running_;
  prometheus::Gauge* requests_waiting_;
  prometheus::Gauge* waiting_bytes_;
  prometheus::Gauge* oldest_wait_;
  prometheus::Gauge* draining_;

  mutable std::mutex mutex_;  // guards source_, held while it runs
  std::function<EngineStats()> source_;
};

}  // namespace heatkv::server

#endif  // SERVER_METRICS_METRICS_H_
