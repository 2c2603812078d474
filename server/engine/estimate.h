// What a request would cost, as the engine knows it before it starts.  A plain
// value.

#ifndef SERVER_ENGINE_ESTIMATE_H_
#define SERVER_ENGINE_ESTIMATE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cache/trajectory.h"

namespace heatkv::server {

struct RequestEstimate {
  // On the tier asked for: bytes of every scale, exactly.
  std::shared_ptr<const cache::Trajectory> trajectory;
  // Of each scale of one image; nothing before anything like it was measured.
  std::vector<std::optional<absl::Duration>> scale_times;
  bool admissible_now = false;
  std::string reason;  // why not
  int requests_ahead = 0;
  // Until its first image starts, and from then to its last image.
  std::optional<absl::Duration> expected_wait;
  std::optional<absl::Duration> expected_run;
  // The least that the wait can be: what surely goes before it.
  std::optional<absl::Duration> least_wait;
  std::optional<absl::Duration> least_run;
  double byte_seconds = 0;  // of all images
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_ESTIMATE_H_
