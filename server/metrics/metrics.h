// The server's metrics: counts what a ServerObserver is told, and reads the
// engine's statistics whenever somebody scrapes.
//
// Owns its registry; there is no global one.  Every series whose labels are
// known beforehand is there from the start, with zero.
//
// Thread safety: every method may be called from any thread.

#ifndef SERVER_METRICS_METRICS_H_
#define SERVER_METRICS_METRICS_H_

#include <functional>
#include <memory>
#include <mutex>
#include <set>
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
#include "server/metrics/pool_gauges.h"

namespace heatkv::server {

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
  void OnStep(int images) override;
  void OnFirstPicture(absl::Duration took) override;
  void OnRelease(EndCause cause, absl::Duration took) override;
  void OnRefusal(Refusal refusal) override;
  void OnLowerTier() override;
  void OnCharge(const std::string& tenant, double byte_seconds) override;

  // See MetricsEndpoint.
  void SetTiers(const std::vector<std::string>& tiers);
  void SetTenants(const std::vector<std::string>& tenants);

  // All metrics, the engine's as they are now.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void RegisterMemory(const MetricsOptions& options);
  void RegisterKnownLabels(const MetricsOptions& options);
  prometheus::Counter& Requests(const std::string& rpc, absl::StatusCode code,
                                const std::string& tier);
  prometheus::Counter& Images(const std::string& tier, absl::StatusCode code);
  prometheus::Histogram& RequestDuration(const std::string& tier);
  prometheus::Histogram& StageDuration(Stage stage);
  prometheus::Histogram& ScaleDuration(int scale);
  prometheus::Histogram& CancelToRelease(EndCause cause);
  void Update(const EngineStats& stats) const;

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>* requests_;
  prometheus::Family<prometheus::Counter>* images_;
  prometheus::Family<prometheus::Histogram>* request_duration_;
  prometheus::Family<prometheus::Histogram>* stage_duration_;
  prometheus::Family<prometheus::Histogram>* scale_duration_;
  std::vector<PoolGauges> pools_;  // by device
  prometheus::Family<prometheus::Histogram>* cancel_to_release_;
  prometheus::Family<prometheus::Counter>* refusals_;
  prometheus::Family<prometheus::Counter>* tenant_byte_seconds_;
  prometheus::Histogram* step_images_;
  prometheus::Histogram* first_picture_;
  prometheus::Counter* lower_tier_;
  prometheus::Gauge* requests_running_;
  prometheus::Gauge* images_running_;
  prometheus::Gauge* requests_waiting_;
  prometheus::Gauge* waiting_bytes_;
  prometheus::Gauge* oldest_wait_;
  prometheus::Gauge* draining_;
  prometheus::Gauge* model_is_well_;

  mutable std::mutex mutex_;  // guards source_, held while it runs
  std::function<EngineStats()> source_;
  std::mutex tenants_mutex_;  // guards tenants_
  std::set<std::string> tenants_;
};

}  // namespace heatkv::server

#endif  // SERVER_METRICS_METRICS_H_
