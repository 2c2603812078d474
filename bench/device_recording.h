// What a GPU does while something runs, from torch's profiler.

#ifndef BENCH_DEVICE_RECORDING_H_
#define BENCH_DEVICE_RECORDING_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/kernel_table.h"

namespace heatkv::server {

// Runs `body` and returns every kernel, copy and fill of all threads meanwhile,
// recorded steps' included.  Slows the host down, so times of the device are
// good and those of the wall are not.  Fails as `body` does, and with
// Unavailable if nothing was seen: the profiler needs NVIDIA's CUPTI.
absl::StatusOr<std::vector<DeviceEvent>> RecordDevice(
    absl::FunctionRef<absl::Status()> body);

}  // namespace heatkv::server

#endif  // BENCH_DEVICE_RECORDING_H_
