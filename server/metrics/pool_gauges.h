// The gauges of one device's pool.  Owned by the registry that they are in.
//
// Thread safety: any thread.

#ifndef SERVER_METRICS_POOL_GAUGES_H_
#define SERVER_METRICS_POOL_GAUGES_H_

#include <vector>

#include "cache/geometry.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "server/engine/engine_stats.h"
#include "server/metrics/metrics_endpoint.h"

namespace heatkv::server {

class PoolGauges {
 public:
  // Labelled with the GPU's number.  With `is_one_of_several`, also the gauges
  // that tell devices apart by their names.
  PoolGauges(const MetricsDevice& device, bool is_one_of_several,
             const cache::CacheGeometry& geometry,
             prometheus::Registry* registry);

  void Update(const PoolStats& stats) const;

 private:
  const double block_bytes_;
  std::vector<prometheus::Gauge*> heads_;  // [layer * heads + head]
  prometheus::Gauge* used_;
  prometheus::Gauge* free_;
  prometheus::Gauge* capacity_;
  prometheus::Gauge* limit_;
  prometheus::Gauge* effective_limit_;
  prometheus::Gauge* high_water_;
  prometheus::Gauge* peak_sum_;
  prometheus::Gauge* plan_error_;
  // Null unless one of several.
  prometheus::Gauge* images_running_ = nullptr;
  prometheus::Gauge* up_ = nullptr;
};

}  // namespace heatkv::server

#endif  // SERVER_METRICS_POOL_GAUGES_H_
