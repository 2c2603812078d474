// When a device will be free: work that is given out piece by piece, in order,
// each piece to the device that has least.  With one device, a sum.
//
// A plain value.

#ifndef SERVER_ENGINE_DEVICE_LOADS_H_
#define SERVER_ENGINE_DEVICE_LOADS_H_

#include <algorithm>
#include <vector>

#include "absl/time/time.h"

namespace heatkv::server {

class DeviceLoads {
 public:
  // REQUIRES: 1 device or more.
  explicit DeviceLoads(int devices) : loads_(devices) {}

  // Work that is bound to a device.
  void Bind(int device, absl::Duration work) { loads_[device] += work; }

  // `pieces` pieces of `work` each, for whoever is free.
  void GiveOut(int pieces, absl::Duration work) {
    if (loads_.size() == 1) {
      loads_[0] += pieces * work;
      return;
    }
    for (int i = 0; i < pieces; ++i) {
      *std::min_element(loads_.begin(), loads_.end()) += work;
    }
  }

  // Until the first of them has nothing more to do.
  absl::Duration Least() const {
    return *std::min_element(loads_.begin(), loads_.end());
  }
  // Until the last of them has.
  absl::Duration Most() const {
    return *std::max_element(loads_.begin(), loads_.end());
  }

 private:
  std::vector<absl::Duration> loads_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_DEVICE_LOADS_H_
