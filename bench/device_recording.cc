#include "bench/device_recording.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <memory>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "model/torch_exceptions.h"

namespace heatkv::server {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

absl::StatusOr<std::vector<DeviceEvent>> Record(
    absl::FunctionRef<absl::Status()> body) {
  const torch::profiler::impl::ProfilerConfig config(
      torch::profiler::impl::ProfilerState::KINETO);
  const std::set<ActivityType> activities = {ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  const absl::Status status = body();
  const std::unique_ptr<profiler::ProfilerResult> result =
      profiler::disableProfiler();
  RETURN_IF_ERROR(status);
  std::vector<DeviceEvent> events;
  for (const profiler::KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA) continue;
    events.push_back({.name = event.name(),
                      .begin = static_cast<std::int64_t>(event.startNs()),
                      .end = static_cast<std::int64_t>(event.endNs())});
  }
  if (events.empty()) {
    return absl::UnavailableError("the profiler saw nothing of the device");
  }
  return events;
}

}  // namespace

absl::StatusOr<std::vector<DeviceEvent>> RecordDevice(
    absl::FunctionRef<absl::Status()> body) {
  return model::WithoutExceptions("recording the device",
                                  [&] { return Record(body); });
}

}  // namespace heatkv::server
