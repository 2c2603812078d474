// A model without weights: it "computes" pictures whose pixels are a hash of
// prompt, seed, knobs and every step plan's shape, so that a step that was
// forgotten, repeated or given to the wrong image shows in the picture.
//
// It aborts on a call that no engine may make (a step out of order, a plan of
// another scale, two images of different scales in one step, blocks outside
// the arena, a block that another image holds), can be told to fail, and counts
// what is alive.  Not thread-safe, but for CountTokens, as the interface says.

#ifndef TESTS_FAKES_FAKE_MODEL_H_
#define TESTS_FAKES_FAKE_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/api/image_model.h"

namespace heatkv::model {

class FakeModel final : public ImageModel {
 public:
  // What the test holds while the engine owns the model.
  struct Script {
    // Called with prompt, seed and scale before each step; may fail it.
    std::function<absl::Status(const std::string&, std::uint64_t, int)> on_step;
    std::function<absl::Status(const std::string&)> on_encode;
    std::function<absl::Status(const std::string&)> on_decode;
    // "prompt/seed/scale", in the order of the steps.
    std::vector<std::string> steps;
    int encodings = 0;
    int live_images = 0;
    std::int64_t arena_blocks = 0;
  };

  explicit FakeModel(std::shared_ptr<Script> script);

  // Two layers of two heads of width 8; ladder 1, 2, 3, 4, 6 squared ("1:1",
  // "tiny") and a wide one ("1:2", "tiny").
  static ModelSpec MakeSpec();

  const ModelSpec& spec() const override { return spec_; }
  cache::CacheGeometry cache_geometry() const override;
  absl::Status CreateArena(std::int64_t blocks) override;
  // One token a byte, and one for the end.
  absl::StatusOr<int> CountTokens(std::string_view prompt) const override;
  absl::StatusOr<std::shared_ptr<const EncodedText>> EncodeText(
      std::string_view prompt) override;
  absl::StatusOr<std::unique_ptr<ImageState>> StartImage(
      std::shared_ptr<const EncodedText> text, int ladder,
      const SamplingKnobs& knobs) override;
  absl::Status Step(std::span<const StepItem> items) override;
  absl::StatusOr<RgbImage> Decode(const ImageState& image) override;

 private:
  std::shared_ptr<Script> script_;  // shared with the test
  ModelSpec spec_;
};

}  // namespace heatkv::model

#endif  // TESTS_FAKES_FAKE_MODEL_H_
