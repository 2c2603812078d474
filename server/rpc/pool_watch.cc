#include "server/rpc/pool_watch.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/rpc/event_conversion.h"

namespace heatkv::server {
namespace {

v1::ImageView ToProto(const ImageSnapshot& image, const EngineStats& stats) {
  v1::ImageView view;
  view.set_request(image.request);
  view.set_request_id(image.request_id);
  view.set_tenant(image.tenant);
  view.set_tier(image.tier);
  view.set_image_index(image.image);
  view.set_scales_done(image.scales_done);
  view.set_scales(image.scales);
  view.set_held_bytes(stats.bytes(image.held_blocks));
  view.set_peak_bytes(stats.bytes(image.peak_blocks));
  if (!stats.devices.empty()) {
    view.set_device(stats.devices[image.device].device);
  }
  for (const std::int64_t blocks : image.head_blocks) {
    view.add_head_bytes(stats.bytes(blocks));
  }
  return view;
}

v1::DeviceView ToProto(const DeviceStats& device, const EngineStats& stats) {
  v1::DeviceView view;
  view.set_device(device.device);
  view.set_capacity_bytes(stats.bytes(device.capacity_blocks));
  view.set_limit_bytes(stats.bytes(device.limit_blocks));
  view.set_effective_limit_bytes(stats.bytes(device.effective_limit_blocks));
  view.set_used_bytes(stats.bytes(device.used_blocks));
  view.set_high_water_bytes(stats.bytes(device.high_water_blocks));
  view.set_peak_sum_bytes(stats.bytes(device.peak_sum_blocks));
  view.set_plan_error_bytes(stats.bytes(device.plan_error_blocks));
  view.set_images(device.running_images);
  view.set_well(device.model_is_well);
  return view;
}

}  // namespace

v1::PoolView ToProto(const PoolSnapshot& snapshot) {
  const EngineStats& stats = snapshot.stats;
  v1::PoolView view;
  *view.mutable_time() = ToProto(snapshot.time);
  view.set_capacity_bytes(stats.bytes(stats.capacity_blocks));
  view.set_limit_bytes(stats.bytes(stats.limit_blocks));
  view.set_effective_limit_bytes(stats.bytes(stats.effective_limit_blocks));
  view.set_used_bytes(stats.bytes(stats.used_blocks));
  view.set_high_water_bytes(stats.bytes(stats.high_water_blocks));
  view.set_peak_sum_bytes(stats.bytes(stats.peak_sum_blocks));
  view.set_plan_error_bytes(stats.bytes(stats.plan_error_blocks));
  view.set_waiting_requests(stats.waiting_requests);
  view.set_waiting_bytes(stats.waiting_bytes);
  view.set_draining(stats.draining);
  view.set_layers(stats.geometry.layers);
  view.set_heads(stats.geometry.heads);
  for (const std::int64_t blocks : stats.head_blocks) {
    view.add_head_bytes(stats.bytes(blocks));
  }
  for (const ImageSnapshot& image : snapshot.images) {
    *view.add_images() = ToProto(image, stats);
  }
  for (const DeviceStats& device : stats.devices) {
    *view.add_devices() = ToProto(device, stats);
  }
  return view;
}

PoolWatch::PoolWatch(Engine* engine, WorkerPool* workers, bool per_head,
                     absl::Duration interval)
    : engine_(engine),
      workers_(workers),
      per_head_(per_head),
      interval_(interval) {}

bool PoolWatch::is_over() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return is_over_;
}

void PoolWatch::TakeView() {
  if (is_over()) return End();
  engine_->ViewPool(per_head_, [this](PoolSnapshot snapshot) {
    // The engine thread has better things to do.
    workers_->Schedule(
        [this, snapshot = std::move(snapshot)] { Show(snapshot); });
  });
}

void PoolWatch::Show(const PoolSnapshot& snapshot) {
  if (is_over()) return End();
  view_ = ToProto(snapshot);
  StartWrite(&view_);
}

void PoolWatch::OnWriteDone(bool ok) {
  if (ok) {
    Wait();
  } else {
    End();
  }
}

void PoolWatch::Wait() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!is_over_) {
      alarm_ = std::make_unique<grpc::Alarm>();
      alarm_->Set(absl::ToChronoTime(absl::Now() + interval_),
                  [this](bool) { TakeView(); });
      return;
    }
  }
  End();
}

void PoolWatch::OnCancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_over_ = true;
  if (alarm_ != nullptr) alarm_->Cancel();
}

}  // namespace heatkv::server
