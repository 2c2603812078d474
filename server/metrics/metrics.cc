#include "server/metrics/metrics.h"

#include <utility>

#include "prometheus/histogram.h"
#include "server/metrics/metric_names.h"

namespace heatkv::server {
namespace {

template <std::size_t N>
prometheus::Histogram::BucketBoundaries Buckets(const double (&bounds)[N]) {
  return {bounds, bounds + N};
}

prometheus::Gauge* MakeGauge(prometheus::Registry* registry,
                             const metric::Description& what,
                             const prometheus::Labels& labels = {}) {
  return &prometheus::BuildGauge()
              .Name(what.name)
              .Help(what.help)
              .Register(*registry)
              .Add(labels);
}

prometheus::Family<prometheus::Counter>* MakeCounters(
    prometheus::Registry* registry, const metric::Description& what) {
  return &prometheus::BuildCounter().Name(what.name).Help(what.help).Register(
      *registry);
}

prometheus::Family<prometheus::Histogram>* MakeHistograms(
    prometheus::Registry* registry, const metric::Description& what) {
  return &prometheus::BuildHistogram().Name(what.name).Help(what.help).Register(
      *registry);
}

}  // namespace

const char* CodeName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "OK";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case absl::StatusCode::kInternal:
      return "INTERNAL";
    case absl::StatusCode::kUnavailable:
      return "UNAVAILABLE";
    default:
      return "UNKNOWN";
  }
}

Metrics::Metrics(const MetricsOptions& options)
    : gpu_(std::to_string(options.gpu)),
      requests_(MakeCounters(&registry_, metric::kRequests)),
      images_(MakeCounters(&registry_, metric::kImages)),
      request_duration_(MakeHistograms(&registry_, metric::kRequestDuration)),
      stage_duration_(MakeHistograms(&registry_, metric::kStageDuration)),
      scale_duration_(MakeHistograms(&registry_, metric::kScaleDuration)) {
  const prometheus::Labels gpu = {{"gpu", gpu_}};
  auto& heads = prometheus::BuildGauge()
                    .Name(metric::kCacheBytes.name)
                    .Help(metric::kCacheBytes.help)
                    .Register(registry_);
  for (int layer = 0; layer < options.geometry.layers; ++layer) {
    for (int head = 0; head < options.geometry.heads; ++head) {
      cache_bytes_.push_back(&heads.Add({{"gpu", gpu_},
                                         {"layer", std::to_string(layer)},
                                         {"head", std::to_string(head)}}));
    }
  }
  auto& pool = prometheus::BuildGauge()
                   .Name(metric::kPoolBytes.name)
                   .Help(metric::kPoolBytes.help)
                   .Register(registry_);
  pool_used_ = &pool.Add({{"gpu", gpu_}, {"state", "used"}});
  pool_reserved_ = &pool.Add({{"gpu", gpu_}, {"state", "reserved"}});
  pool_free_ = &pool.Add({{"gpu", gpu_}, {"state", "free"}});
  pool_limit_ = MakeGauge(&registry_, metric::kPoolLimitBytes, gpu);
  pool_high_water_ = MakeGauge(&registry_, metric::kPoolHighWaterBytes, gpu);
  plan_error_ = MakeGauge(&registry_, metric::kPlanErrorBytes, gpu);
  requests_running_ = MakeGauge(&registry_, metric::kRequestsRunning);
  images_running_ = MakeGauge(&registry_, metric::kImagesRunning);
  requests_waiting_ = MakeGauge(&registry_, metric::kRequestsWaiting);
  waiting_bytes_ = MakeGauge(&registry_, metric::kWaitingBytes);
  oldest_wait_ = MakeGauge(&registry_, metric::kOldestWait);
  draining_ = MakeGauge(&registry_, metric::kDraining);
  MakeGauge(&registry_, metric::kBuild,
            {{"version", options.version}, {"model", options.model}})
      ->Set(1);
}

void Metrics::SetSource(std::function<EngineStats()> source) {
  const std::lock_guard<std::mutex> lock(mutex_);
  source_ = std::move(source);
}

void Metrics::OnCall(const CallRecord& call) {
  requests_
      ->Add({{"rpc", call.rpc},
             {"code", CodeName(call.status.code())},
             {"tier", call.tier}})
      .Increment();
  if (call.status.ok() && call.images_asked > 0) {
    request_duration_
        ->Add({{"tier", call.tier}}, Buckets(metric::kRequestBuckets))
        .Observe(absl::ToDoubleSeconds(call.took));
  }
}

void Metrics::OnStage(Stage stage, absl::Duration took) {
  stage_duration_
      ->Add({{"stage", StageName(stage)}}, Buckets(metric::kStageBuckets))
      .Observe(absl::ToDoubleSeconds(took));
}

void Metrics::OnScale(int scale, absl::Duration took) {
  scale_duration_
      ->Add({{"scale", std::to_string(scale + 1)}},
            Buckets(metric::kScaleBuckets))
      .Observe(absl::ToDoubleSeconds(took));
}

void Metrics::OnImage(const std::string& tier, const absl::Status& status) {
  images_->Add({{"tier", tier}, {"code", CodeName(status.code())}}).Increment();
}

void Metrics::Update(const EngineStats& stats) const {
  const auto set = [&](prometheus::Gauge* gauge, std::int64_t blocks) {
    gauge->Set(static_cast<double>(stats.bytes(blocks)));
  };
  for (std::size_t i = 0; i < cache_bytes_.size(); ++i) {
    set(cache_bytes_[i], stats.head_blocks[i]);
  }
  set(pool_used_, stats.used_blocks);
  set(pool_reserved_, stats.reserved_blocks - stats.used_blocks);
  set(pool_free_, stats.capacity_blocks - stats.reserved_blocks);
  set(pool_limit_, stats.capacity_blocks);
  set(pool_high_water_, stats.high_water_blocks);
  set(plan_error_, stats.plan_error_blocks);
  requests_running_->Set(stats.running_requests);
  images_running_->Set(stats.running_images);
  requests_waiting_->Set(stats.waiting_requests);
  waiting_bytes_->Set(static_cast<double>(stats.waiting_bytes));
  oldest_wait_->Set(absl::ToDoubleSeconds(stats.oldest_wait));
  draining_->Set(stats.draining ? 1 : 0);
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  // One scrape at a time, so that the gauges of one answer belong together.
  const std::lock_guard<std::mutex> lock(mutex_);
  if (source_) Update(source_());
  return registry_.Collect();
}

}  // namespace heatkv::server
