#include "client/bench/arrivals.h"

#include <cmath>

namespace heatkv::client {

absl::Duration Arrivals::Next() {
  seconds_ -= std::log1p(-draws_.NextUnit()) / rate_;
  return absl::Seconds(seconds_);
}

}  // namespace heatkv::client
