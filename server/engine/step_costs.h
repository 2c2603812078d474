// How long steps take: what was measured so far, and what that says about work
// to come.
//
// The time of a step is kept for each (ladder, scale, branches), following the
// last few; a kind of step that was never measured is estimated from those that
// were, by the tokens of their scales.  Before anything was measured there is
// no estimate, and nothing is promised or refused for it.
//
// Not thread-safe: one owner, or guarded by its lock.  Copies are values.

#ifndef SERVER_ENGINE_STEP_COSTS_H_
#define SERVER_ENGINE_STEP_COSTS_H_

#include <map>
#include <optional>
#include <tuple>

#include "absl/time/time.h"
#include "cache/trajectory.h"

namespace heatkv::server {

class StepCosts {
 public:
  // One step of `images` images; `tokens` is those of one image's scale.
  void RecordStep(int ladder, int scale, int branches, int tokens, int images,
                  absl::Duration took);
  void RecordDecode(int ladder, int tokens, absl::Duration took);
  void RecordText(absl::Duration took);

  // Makes every estimate smaller by a tenth.  For when work was refused for its
  // estimate alone: what is never run is never measured again.
  void Doubt();

  // One image's share of a step: its time divided by its images.
  std::optional<absl::Duration> Step(int ladder, int scale, int branches,
                                     int tokens) const;
  // `tokens` is those of the last scale.
  std::optional<absl::Duration> Decode(int ladder, int tokens) const;
  std::optional<absl::Duration> Text() const;

  // Scales from `scale` on and the decoding.
  std::optional<absl::Duration> Rest(int ladder,
                                     const cache::Trajectory& trajectory,
                                     int scale) const;

  // Bytes held times seconds, over all scales of one image.  Before anything
  // was measured, a step counts as one second for each 10,000 rows, so that
  // images can still be weighed against each other.
  double ByteSeconds(int ladder, const cache::Trajectory& trajectory) const;

 private:
  struct Mean {
    double seconds = 0;
    int tokens = 0;
    bool measured = false;
    void Add(double value);
  };

  std::map<std::tuple<int, int, int>, Mean> steps_;
  std::map<int, Mean> decodes_;
  Mean text_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_STEP_COSTS_H_
