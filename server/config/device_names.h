// The key `device`: which device, or devices, the model runs on, by names.
//
// Pure functions of plain values.  Thread safety: stateless.

#ifndef SERVER_CONFIG_DEVICE_NAMES_H_
#define SERVER_CONFIG_DEVICE_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace heatkv::server {

// Every CUDA device of the machine.
inline constexpr char kAllDevices[] = "all";

// The most that a machine has.
inline constexpr int kMostDevices = 64;

// "cpu", "cuda", "cuda:N" or "all", or several GPUs with commas between them,
// each once.  InvalidArgument says what the key must be.
absl::StatusOr<std::vector<std::string>> ParseDevices(absl::string_view text);

// N of "cuda:N"; 0 of any other name.
int GpuNumber(absl::string_view device);

}  // namespace heatkv::server

#endif  // SERVER_CONFIG_DEVICE_NAMES_H_
