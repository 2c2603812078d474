// Where a GPU's time went: what it did while some images were made, by kernel
// and by scale, and how long it did nothing.
//
// Plain values and pure functions.  Thread safety: stateless.

#ifndef BENCH_KERNEL_TABLE_H_
#define BENCH_KERNEL_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace heatkv::server {

// A kernel, copy or fill on the device; nanoseconds of one clock.
struct DeviceEvent {
  std::string name;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

struct KernelRow {
  std::string name;  // without its parameters
  int calls = 0;
  // Of all calls, with what they waited for the kernel in front of them.
  double microseconds = 0;
};

// A stretch of the device's time.
struct DeviceSpan {
  double wall_microseconds = 0;
  double busy_microseconds = 0;  // something ran

  double idle_microseconds() const {
    return wall_microseconds - busy_microseconds;
  }
};

struct KernelPart {
  std::string name;  // "scale 1" and so on; "decode"
  DeviceSpan span;
  std::vector<KernelRow> rows;  // of what ended in it, most time first
};

struct KernelTable {
  std::vector<KernelRow> rows;  // most time first
  DeviceSpan all;
  // From the end of one event whose name contains the marker to the end of the
  // next, the scales, and the rest behind the last one, decoding.
  std::vector<KernelPart> parts;
};

// `marker` is in the name of the kernel that ends a scale.
KernelTable MakeKernelTable(std::vector<DeviceEvent> events,
                            const std::string& marker);

// "void at::native::f<int>(int, float*)" -> "at::native::f<int>", shortened in
// the middle to at most `length` characters.
std::string KernelName(const std::string& full, int length);

// Of every part only the 16 kernels that took longest.
nlohmann::json ToJson(const KernelTable& table);

// For people: at most `rows` rows, and the parts.
std::string ToText(const KernelTable& table, int rows);

}  // namespace heatkv::server

#endif  // BENCH_KERNEL_TABLE_H_
