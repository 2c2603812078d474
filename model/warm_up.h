// Has a model compute something of every kind that requests will ask for, so
// that none of them is the first: libraries set themselves up, steps and
// decodings are recorded, the allocator has what it needs.

#ifndef MODEL_WARM_UP_H_
#define MODEL_WARM_UP_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "model/api/image_model.h"

namespace heatkv::model {

struct WarmUpWork {
  std::vector<int> ladders;
  // Of the largest scale that is computed, tokens of all branches.
  std::int64_t most_rows = std::numeric_limits<std::int64_t>::max();
  // After every scale of an image with guidance, as for previews, and after the
  // last one.
  bool decodes = false;
  // Each image is in the company of as many as run together at any scale, so
  // that there is memory for these from then on.
  bool has_company = false;
};

// The ladders that have to be computed so that no other one has a step of its
// own: all but those that another one begins with.  Ascending.
std::vector<int> LaddersToWarm(const ModelSpec& spec);

// Makes an image of each ladder with guidance and one without, and calls
// `on_image` after each.  Touches no block of the arena.  Fails as the model
// does.
absl::Status WarmUp(
    ImageModel& model, const std::shared_ptr<const EncodedText>& text,
    const WarmUpWork& work, const std::function<void()>& on_image = [] {});

// The same for a model that records its steps and decodings in every shape: at
// scales of few rows (kFewRows) those of images alone, and everything of images
// in company.
absl::Status WarmUpRecorded(ImageModel& model,
                            const std::shared_ptr<const EncodedText>& text,
                            const std::vector<int>& ladders,
                            const ImageModel::WarmUpProgress& progress);

}  // namespace heatkv::model

#endif  // MODEL_WARM_UP_H_
