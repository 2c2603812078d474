// The seam between the engine and a model backend.  The engine decides what
// runs when and which blocks of the pool it may use; a backend computes.
//
// A backend owns the weights, the arena that the pool's block numbers index,
// and the tensors of the images in flight.  It owns no queue, no block
// bookkeeping and no thread.  Not thread-safe: all calls come from the engine
// thread.  No exception leaves a backend; every failure is a Status, and after
// a failed call the images named in it can only be destroyed.

#ifndef MODEL_API_IMAGE_MODEL_H_
#define MODEL_API_IMAGE_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/geometry.h"
#include "cache/step_plan.h"
#include "model/api/model_spec.h"

namespace heatkv::model {

// Text features of one prompt and all that follows from them alone (pooled
// condition, cross-attention keys and values).  Made by a backend; opaque to
// the engine; shared by the images of a request and by a cache of prompts.
// Immutable after EncodeText, so sharing needs no lock.
class EncodedText {
 public:
  virtual ~EncodedText() = default;
  virtual int tokens() const = 0;          // end-of-sequence included
  virtual std::int64_t bytes() const = 0;  // of the device's memory
};

struct SamplingKnobs {
  // One value for each scale of the ladder.  Guidance 1 at every scale means a
  // single branch and half the cache.
  std::vector<float> guidance;
  std::vector<float> tau;
  float top_p = 0.97f;
  // Bits are drawn from a counter-based generator keyed by (seed, image, scale,
  // token, bit): they do not depend on what else is being served.
  std::uint64_t seed = 0;
  std::uint32_t image = 0;

  bool guided() const {
    for (const float g : guidance) {
      if (g != 1.0f) return true;
    }
    return false;
  }
  int branches() const { return guided() ? 2 : 1; }
};

// The state of one image in flight, between two scales.  Destroying it frees
// the backend's memory for it; its cache blocks belong to the engine.
class ImageState {
 public:
  virtual ~ImageState() = default;
  virtual int next_scale() const = 0;  // num_scales when all are done
};

// One image's share of a step.  Both pointers outlive the call.
struct StepItem {
  ImageState* image = nullptr;
  const cache::StepPlan* plan = nullptr;
};

// 8-bit RGB, rows top to bottom, no padding.
struct RgbImage {
  int height = 0;
  int width = 0;
  std::vector<std::uint8_t> pixels;  // height * width * 3
};

class ImageModel {
 public:
  virtual ~ImageModel() = default;

  virtual const ModelSpec& spec() const = 0;

  // Layers, heads and bytes of the cache that the arena stores.
  virtual cache::CacheGeometry cache_geometry() const = 0;

  // Allocates the arena for `blocks` blocks.  Called once, before any image.
  // Fails with ResourceExhausted, naming both byte counts, if it does not fit.
  virtual absl::Status CreateArena(std::int64_t blocks) = 0;

  // Computes something of what requests will ask for, so that no request is the
  // first.  Called once, after CreateArena and before any image, by the thread
  // that makes all later calls: libraries keep some of their state by thread.
  // Fails if the model cannot compute.
  virtual absl::Status WarmUp() { return absl::OkStatus(); }

  // Whom WarmUp tells, from its thread, how much of it is done.  Before WarmUp.
  using WarmUpProgress = std::function<void(int done, int of)>;
  virtual void TellWarmUpTo(WarmUpProgress /*progress*/) {}

  // Number of pieces of `prompt`, the end-of-sequence piece included, before
  // any truncation.  The one method that any thread may call at any time.
  virtual absl::StatusOr<int> CountTokens(std::string_view prompt) const = 0;

  // Begins to encode `prompt`, where a backend can do that beside the calling
  // thread; EncodeText then takes what it came to.
  virtual void PrepareText(std::string_view /*prompt*/) {}

  // False while EncodeText(prompt) would wait for what PrepareText began.
  virtual bool IsTextReady(std::string_view /*prompt*/) const { return true; }

  // Fails with InvalidArgument if the prompt has more pieces than
  // tokenizer.max_length.
  virtual absl::StatusOr<std::shared_ptr<const EncodedText>> EncodeText(
      std::string_view prompt) = 0;

  // Prepares an image of ladder number `ladder` of the spec, at scale 0.
  virtual absl::StatusOr<std::unique_ptr<ImageState>> StartImage(
      std::shared_ptr<const EncodedText> text, int ladder,
      const SamplingKnobs& knobs) = 0;

  // Computes one scale of every item; each plan's scale is its image's
  // next_scale(); all items are at the same scale of the same ladder with the
  // same number of branches, and are at most GroupCapacity(spec(), ...) many.
  //
  // One status an item: Internal on non-finite logits of that item, naming the
  // scale; ResourceExhausted if the device had no memory for it.  What befalls
  // one item leaves the others as if it had not been there.  If the step as a
  // whole failed, every item has the same status.
  virtual std::vector<absl::Status> Step(std::span<const StepItem> items) = 0;

  // Decodes the codes summed so far: the finished image after the last scale,
  // a preview before it, which may be smaller, as the scales done so far are.
  virtual absl::StatusOr<RgbImage> Decode(const ImageState& image) = 0;
};

}  // namespace heatkv::model

#endif  // MODEL_API_IMAGE_MODEL_H_
