#include "server/metrics/pool_gauges.h"

#include <string>

#include "server/metrics/metric_names.h"

namespace heatkv::server {
namespace {

prometheus::Gauge* Add(prometheus::Registry* registry,
                       const metric::Description& what,
                       const prometheus::Labels& labels) {
  return &prometheus::BuildGauge()
              .Name(what.name)
              .Help(what.help)
              .Register(*registry)
              .Add(labels);
}

}  // namespace

PoolGauges::PoolGauges(const MetricsDevice& device, bool is_one_of_several,
                       const cache::CacheGeometry& geometry,
                       prometheus::Registry* registry)
    : block_bytes_(static_cast<double>(geometry.block_bytes())) {
  const std::string gpu = std::to_string(device.gpu);
  const prometheus::Labels labels = {{"gpu", gpu}};
  auto& heads = prometheus::BuildGauge()
                    .Name(metric::kCacheBytes.name)
                    .Help(metric::kCacheBytes.help)
                    .Register(*registry);
  for (int layer = 0; layer < geometry.layers; ++layer) {
    for (int head = 0; head < geometry.heads; ++head) {
      heads_.push_back(&heads.Add({{"gpu", gpu},
                                   {"layer", std::to_string(layer)},
                                   {"head", std::to_string(head)}}));
    }
  }
  used_ = Add(registry, metric::kPoolBytes, {{"gpu", gpu}, {"state", "used"}});
  free_ = Add(registry, metric::kPoolBytes, {{"gpu", gpu}, {"state", "free"}});
  capacity_ = Add(registry, metric::kPoolCapacityBytes, labels);
  limit_ = Add(registry, metric::kPoolLimitBytes, labels);
  effective_limit_ = Add(registry, metric::kPoolEffectiveLimitBytes, labels);
  high_water_ = Add(registry, metric::kPoolHighWaterBytes, labels);
  peak_sum_ = Add(registry, metric::kPoolPeakSumBytes, labels);
  plan_error_ = Add(registry, metric::kPlanErrorBytes, labels);
  if (!is_one_of_several) return;
  const prometheus::Labels named = {{"device", device.name}, {"gpu", gpu}};
  images_running_ = Add(registry, metric::kDeviceImagesRunning, named);
  up_ = Add(registry, metric::kDeviceUp, named);
}

void PoolGauges::Update(const PoolStats& stats) const {
  const auto set = [this](prometheus::Gauge* gauge, std::int64_t blocks) {
    gauge->Set(block_bytes_ * static_cast<double>(blocks));
  };
  for (std::size_t i = 0; i < heads_.size(); ++i) {
    set(heads_[i], stats.head_blocks[i]);
  }
  set(used_, stats.used_blocks);
  set(free_, stats.free_blocks());
  set(capacity_, stats.capacity_blocks);
  set(limit_, stats.limit_blocks);
  set(effective_limit_, stats.effective_limit_blocks);
  set(high_water_, stats.high_water_blocks);
  set(peak_sum_, stats.peak_sum_blocks);
  set(plan_error_, stats.plan_error_blocks);
  if (up_ == nullptr) return;
  images_running_->Set(stats.running_images);
  up_->Set(stats.model_is_well ? 1 : 0);
}

}  // namespace heatkv::server
