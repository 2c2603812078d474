#include "base/readable_bytes.h"

#include "absl/strings/str_format.h"

namespace heatkv {

std::string ReadableBytes(std::uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrFormat("%.0f B", value)
                   : absl::StrFormat("%.1f %s", value, units[unit]);
}

}  // namespace heatkv
