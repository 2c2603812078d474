#include "server/metrics/metrics.h"

#include <utility>

#include "prometheus/histogram.h"
#include "server/metrics/metric_names.h"

namespace heatkv::server {
namespace {

// Calls that make images, and how they may end once their request was
// understood.
constexpr const char* kRpcs[] = {"GenerateImage", "GenerateImageStream",
                                 "SubmitImage"};
constexpr absl::StatusCode kEnds[] = {absl::StatusCode::kOk,
                                      absl::StatusCode::kCancelled,
                                      absl::StatusCode::kDeadlineExceeded,
                                      absl::StatusCode::kResourceExhausted,
                                      absl::StatusCode::kFailedPrecondition,
                                      absl::StatusCode::kAborted,
                                      absl::StatusCode::kInternal,
                                      absl::StatusCode::kUnavailable};

// Everybody whom the configuration does not name.
constexpr char kOtherTenants[] = "other";

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

Metrics::Metrics(const MetricsOptions& options)
    : requests_(MakeCounters(&registry_, metric::kRequests)),
      images_(MakeCounters(&registry_, metric::kImages)),
      request_duration_(MakeHistograms(&registry_, metric::kRequestDuration)),
      stage_duration_(MakeHistograms(&registry_, metric::kStageDuration)),
      scale_duration_(MakeHistograms(&registry_, metric::kScaleDuration)),
      cancel_to_release_(MakeHistograms(&registry_, metric::kCancelToRelease)),
      refusals_(MakeCounters(&registry_, metric::kRefusals)),
      tenant_byte_seconds_(
          MakeCounters(&registry_, metric::kTenantByteSeconds)),
      step_images_(&MakeHistograms(&registry_, metric::kStepImages)
                        ->Add({}, Buckets(metric::kStepImagesBuckets))),
      first_picture_(&MakeHistograms(&registry_, metric::kFirstPicture)
                          ->Add({}, Buckets(metric::kFirstPictureBuckets))),
      lower_tier_(&MakeCounters(&registry_, metric::kLowerTier)->Add({})) {
  for (const MetricsDevice& device : options.devices) {
    pools_.emplace_back(device, options.devices.size() > 1, options.geometry,
                        &registry_);
  }
  RegisterMemory(options);
  requests_running_ = MakeGauge(&registry_, metric::kRequestsRunning);
  images_running_ = MakeGauge(&registry_, metric::kImagesRunning);
  requests_waiting_ = MakeGauge(&registry_, metric::kRequestsWaiting);
  waiting_bytes_ = MakeGauge(&registry_, metric::kWaitingBytes);
  oldest_wait_ = MakeGauge(&registry_, metric::kOldestWait);
  draining_ = MakeGauge(&registry_, metric::kDraining);
  model_is_well_ = MakeGauge(&registry_, metric::kModelUp);
  MakeGauge(&registry_, metric::kBuild,
            {{"version", options.version},
             {"model", options.model},
             {"weights", options.weights}})
      ->Set(1);
  RegisterKnownLabels(options);
}

void Metrics::RegisterMemory(const MetricsOptions& options) {
  auto& planned = prometheus::BuildGauge()
                      .Name(metric::kMemoryPlannedBytes.name)
                      .Help(metric::kMemoryPlannedBytes.help)
                      .Register(registry_);
  const auto add = [&](const std::string& device, const std::string& part,
                       std::int64_t bytes) {
    planned.Add({{"device", device}, {"part", part}})
        .Set(static_cast<double>(bytes));
  };
  for (const model::MemoryAccount& account : options.memory) {
    for (const model::MemoryPart& part : account.parts) {
      add(account.device, part.name, part.bytes);
    }
    add(account.device, "left", account.left());
  }
}

void Metrics::RegisterKnownLabels(const MetricsOptions& options) {
  for (const Stage stage : {Stage::kQueue, Stage::kText, Stage::kScales,
                            Stage::kDecode, Stage::kEncode}) {
    StageDuration(stage);
  }
  for (int scale = 0; scale < options.scales; ++scale) ScaleDuration(scale);
  for (const EndCause cause :
       {EndCause::kClient, EndCause::kDeadline, EndCause::kStall,
        EndCause::kShutdown, EndCause::kFailure}) {
    CancelToRelease(cause);
  }
  for (const Refusal refusal :
       {Refusal::kQueueFull, Refusal::kBytesFull, Refusal::kDeadline,
        Refusal::kNeverFits, Refusal::kDraining, Refusal::kModelUnwell}) {
    refusals_->Add({{"reason", RefusalName(refusal)}});
  }
  for (const char* rpc : kRpcs) {
    Requests(rpc, absl::StatusCode::kInvalidArgument, "");
  }
  SetTiers(options.tiers);
  SetTenants(options.tenants);
}

void Metrics::SetTiers(const std::vector<std::string>& tiers) {
  for (const std::string& tier : tiers) {
    RequestDuration(tier);
    for (const absl::StatusCode code : kEnds) {
      Images(tier, code);
      for (const char* rpc : kRpcs) Requests(rpc, code, tier);
    }
  }
}

void Metrics::SetTenants(const std::vector<std::string>& tenants) {
  const std::lock_guard<std::mutex> lock(tenants_mutex_);
  tenants_ = {tenants.begin(), tenants.end()};
  for (const std::string& tenant : tenants_) {
    tenant_byte_seconds_->Add({{"tenant", tenant}});
  }
  tenant_byte_seconds_->Add({{"tenant", kOtherTenants}});
}

prometheus::Counter& Metrics::Requests(const std::string& rpc,
                                       absl::StatusCode code,
                                       const std::string& tier) {
  return requests_->Add(
      {{"rpc", rpc}, {"code", absl::StatusCodeToString(code)}, {"tier", tier}});
}

prometheus::Counter& Metrics::Images(const std::string& tier,
                                     absl::StatusCode code) {
  return images_->Add(
      {{"tier", tier}, {"code", absl::StatusCodeToString(code)}});
}

prometheus::Histogram& Metrics::RequestDuration(const std::string& tier) {
  return request_duration_->Add({{"tier", tier}},
                                Buckets(metric::kRequestBuckets));
}

prometheus::Histogram& Metrics::StageDuration(Stage stage) {
  return stage_duration_->Add({{"stage", StageName(stage)}},
                              Buckets(metric::kStageBuckets));
}

prometheus::Histogram& Metrics::ScaleDuration(int scale) {
  return scale_duration_->Add({{"scale", std::to_string(scale + 1)}},
                              Buckets(metric::kScaleBuckets));
}

prometheus::Histogram& Metrics::CancelToRelease(EndCause cause) {
  return cancel_to_release_->Add({{"cause", EndCauseName(cause)}},
                                 Buckets(metric::kReleaseBuckets));
}

void Metrics::SetSource(std::function<EngineStats()> source) {
  const std::lock_guard<std::mutex> lock(mutex_);
  source_ = std::move(source);
}

void Metrics::OnCall(const CallRecord& call) {
  Requests(call.rpc, call.status.code(), call.tier).Increment();
  if (call.status.ok() && call.images_asked > 0) {
    RequestDuration(call.tier).Observe(absl::ToDoubleSeconds(call.took));
  }
}

void Metrics::OnStage(Stage stage, absl::Duration took) {
  StageDuration(stage).Observe(absl::ToDoubleSeconds(took));
}

void Metrics::OnScale(int scale, absl::Duration took) {
  ScaleDuration(scale).Observe(absl::ToDoubleSeconds(took));
}

void Metrics::OnImage(const std::string& tier, const absl::Status& status) {
  Images(tier, status.code()).Increment();
}

void Metrics::OnStep(int images) { step_images_->Observe(images); }

void Metrics::OnFirstPicture(absl::Duration took) {
  first_picture_->Observe(absl::ToDoubleSeconds(took));
}

void Metrics::OnRelease(EndCause cause, absl::Duration took) {
  CancelToRelease(cause).Observe(absl::ToDoubleSeconds(took));
}

void Metrics::OnRefusal(Refusal refusal) {
  refusals_->Add({{"reason", RefusalName(refusal)}}).Increment();
}

void Metrics::OnLowerTier() { lower_tier_->Increment(); }

void Metrics::OnCharge(const std::string& tenant, double byte_seconds) {
  const std::lock_guard<std::mutex> lock(tenants_mutex_);
  const std::string label =
      tenants_.count(tenant) != 0 ? tenant : kOtherTenants;
  tenant_byte_seconds_->Add({{"tenant", label}}).Increment(byte_seconds);
}

void Metrics::Update(const EngineStats& stats) const {
  if (pools_.size() == 1) {
    pools_.front().Update(stats);
  } else {
    for (std::size_t d = 0; d < pools_.size(); ++d) {
      pools_[d].Update(stats.devices[d]);
    }
  }
  requests_running_->Set(stats.running_requests);
  images_running_->Set(stats.running_images);
  requests_waiting_->Set(stats.waiting_requests);
  waiting_bytes_->Set(static_cast<double>(stats.waiting_bytes));
  oldest_wait_->Set(absl::ToDoubleSeconds(stats.oldest_wait));
  draining_->Set(stats.draining ? 1 : 0);
  model_is_well_->Set(stats.model_is_well ? 1 : 0);
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  // One scrape at a time, so that the gauges of one answer belong together.
  const std::lock_guard<std::mutex> lock(mutex_);
  if (source_) Update(source_());
  return registry_.Collect();
}

}  // namespace heatkv::server
