#include "client/durations.h"

#include <cmath>

#include "absl/strings/numbers.h"

namespace heatkv::client {

bool ReadDuration(const std::string& text, absl::Duration* duration) {
  absl::Duration read;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds) && std::isfinite(seconds)) {
    read = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &read)) {
    return false;
  }
  if (read < absl::ZeroDuration() || read == absl::InfiniteDuration()) {
    return false;
  }
  *duration = read;
  return true;
}

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

}  // namespace heatkv::client
