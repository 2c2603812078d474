// A model without weights: its arena holds a number for every slot, and its
// pictures are a hash of prompt, seed, knobs and of every number that a step
// read from the arena.  So a step that was forgotten, repeated or given to the
// wrong image, and a block that somebody else wrote into, show in the picture.
//
// It aborts on a call that no engine may make (a step out of order, a plan of
// another scale, images of different kinds or too many in one step, blocks
// outside the arena, a block that another image writes in the same step).  It
// can be told what things cost, to fail at any point, and to run out of device
// memory, and counts what is alive.  Not thread-safe, but for CountTokens, as
// the interface says.

#ifndef TESTS_FAKES_FAKE_MODEL_H_
#define TESTS_FAKES_FAKE_MODEL_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "model/api/image_model.h"

namespace heatkv::model {

class FakeModel final : public ImageModel {
 public:
  // What the test holds while the engine owns the model.
  struct Script {
    // Called with prompt, seed and scale before each step; may fail it.
    std::function<absl::Status(const std::string&, std::uint64_t, int)> on_step;
    std::function<absl::Status(const std::string&)> on_encode;
    std::function<absl::Status()> on_warm_up;
    // Texts that are being encoded beside the engine's thread: none is ready
    // before it is in ready_texts.
    bool prepares_texts = false;
    std::set<std::string, std::less<>> ready_texts;
    std::vector<std::string> prepared_texts;
    std::function<absl::Status(const std::string&)> on_decode;

    // Told how long everything took: a test turns its clock by it.
    std::function<void(absl::Duration)> spend;
    absl::Duration encode_cost;
    absl::Duration decode_cost;
    // Of a step of `images` images at this scale.
    std::function<absl::Duration(int scale, int images)> step_cost;

    // Memory of the device.  An image holds image_bytes while it is alive, and
    // step_bytes more while it is computed; what does not fit fails with
    // ResourceExhausted.
    std::int64_t device_bytes = std::numeric_limits<std::int64_t>::max();
    std::int64_t image_bytes = 0;
    std::int64_t step_bytes = 0;

    // "prompt/seed/scale", in the order of the steps.
    std::vector<std::string> steps;
    int encodings = 0;
    int live_images = 0;
    std::int64_t arena_blocks = 0;
    std::vector<int> group_sizes;  // of every step
  };

  explicit FakeModel(std::shared_ptr<Script> script,
                     ModelSpec spec = MakeSpec(), int bytes_per_value = 4);

  // Two layers of two heads of width 8; ladder 1, 2, 3, 4, 6 squared ("1:1",
  // "tiny") and a wide one ("1:2", "tiny").
  static ModelSpec MakeSpec();

  const ModelSpec& spec() const override { return spec_; }
  cache::CacheGeometry cache_geometry() const override;
  absl::Status CreateArena(std::int64_t blocks) override;
  absl::Status WarmUp() override;
  void PrepareText(std::string_view prompt) override;
  bool IsTextReady(std::string_view prompt) const override;
  // One token a byte, and one for the end.
  absl::StatusOr<int> CountTokens(std::string_view prompt) const override;
  absl::StatusOr<std::shared_ptr<const EncodedText>> EncodeText(
      std::string_view prompt) override;
  absl::StatusOr<std::unique_ptr<ImageState>> StartImage(
      std::shared_ptr<const EncodedText> text, int ladder,
      const SamplingKnobs& knobs) override;
  std::vector<absl::Status> Step(std::span<const StepItem> items) override;
  absl::StatusOr<RgbImage> Decode(const ImageState& image) override;

 private:
  void Spend(absl::Duration cost);

  std::shared_ptr<Script> script_;  // shared with the test
  ModelSpec spec_;
  int bytes_per_value_;
  std::vector<std::uint64_t> arena_;  // [block][slot]
};

}  // namespace heatkv::model

#endif  // TESTS_FAKES_FAKE_MODEL_H_
