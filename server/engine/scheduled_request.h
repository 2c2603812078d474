// What the scheduler knows of requests and says about their images.  Plain
// values.

#ifndef SERVER_ENGINE_SCHEDULED_REQUEST_H_
#define SERVER_ENGINE_SCHEDULED_REQUEST_H_

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cache/trajectory.h"
#include "server/engine/fair_queue.h"

namespace heatkv::server {

// A tier that a request may run on.
struct TierChoice {
  int tier = 0;
  std::shared_ptr<const cache::Trajectory> trajectory;
};

struct ScheduledRequest {
  std::uint64_t number = 0;
  int ladder = 0;
  int images = 1;
  Priority priority = Priority::kNormal;
  std::string tenant;
  absl::Time arrived;
  double image_byte_seconds = 0;  // on the tier asked for
  // The tier asked for, then those that its client allows instead, by falling
  // budget.  All have the same branches and ladder.
  std::vector<TierChoice> choices;
};

struct ImageRef {
  std::uint64_t request = 0;
  int image = 0;  // its index in the request

  friend auto operator<=>(const ImageRef&, const ImageRef&) = default;
};

// What the images of one step have in common.
struct StepKind {
  int ladder = 0;
  int scale = 0;
  int branches = 0;

  friend bool operator==(const StepKind&, const StepKind&) = default;
};

struct Turn {
  int ladder = 0;
  int scale = 0;
  int branches = 0;
  // At scale 0, those that start with it included.
  std::vector<ImageRef> group;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SCHEDULED_REQUEST_H_
