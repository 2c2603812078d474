#include "server/config/device_names.h"

#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace heatkv::server {
namespace {

// "cuda" or "cuda:N".
bool IsGpu(absl::string_view text) {
  int number = 0;
  return absl::ConsumePrefix(&text, "cuda") &&
         (text.empty() ||
          (absl::ConsumePrefix(&text, ":") && !text.empty() &&
           absl::c_all_of(text, absl::ascii_isdigit) &&
           absl::SimpleAtoi(text, &number) && number < kMostDevices));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseDevices(absl::string_view text) {
  if (text == "cpu" || text == kAllDevices) {
    return std::vector<std::string>{std::string(text)};
  }
  std::vector<std::string> devices;
  std::set<int> numbers;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const absl::string_view device = absl::StripAsciiWhitespace(part);
    if (!IsGpu(device)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "device must be \"cpu\", \"cuda\" or \"cuda:N\", several GPUs like "
          "\"cuda:0, cuda:1\", or \"all\", but is \"",
          text, "\""));
    }
    if (!numbers.insert(GpuNumber(device)).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "device names GPU ", GpuNumber(device), " twice: \"", text, "\""));
    }
    devices.emplace_back(device);
  }
  return devices;
}

int GpuNumber(absl::string_view device) {
  int number = 0;
  return absl::ConsumePrefix(&device, "cuda:") &&
                 absl::SimpleAtoi(device, &number)
             ? number
             : 0;
}

}  // namespace heatkv::server
