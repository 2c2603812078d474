// Has a model compute something of every kind that requests will ask for, so
// that none of them is the first: libraries set themselves up, steps of few
// rows are recorded, the allocator has what it needs.

#ifndef MODEL_WARM_UP_H_
#define MODEL_WARM_UP_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "model/api/image_model.h"

namespace heatkv::model {

// Makes an image of the model's first ladder with guidance and one without, by
// the scales of at most `most_tokens` tokens.  If `decodes`, it decodes them,
// and they are in the company of as many as run together at any scale, so that
// there is memory for these from then on.  Touches no block of the arena.  Fails
// as the model does.
absl::Status WarmUp(ImageModel& model,
                    const std::shared_ptr<const EncodedText>& text,
                    std::int64_t most_tokens, bool decodes);

}  // namespace heatkv::model

#endif  // MODEL_WARM_UP_H_
