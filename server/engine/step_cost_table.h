// How long every step takes, given before anything runs: the simulator's
// substitute for a model.
//
// A table comes from one of two places: from measurements (a file, see client/
// plan_costs.h), or from ModeledCosts, which computes it from a model's shape
// and a device's rates.  The latter is a model of a device, not a measurement
// of one; a table carries a sentence that says which it is.
//
// Unlike StepCosts (server/engine/step_costs.h), which follows a running
// engine, it is complete and does not change.  An immutable value, safe to read
// from any thread.

#ifndef SERVER_ENGINE_STEP_COST_TABLE_H_
#define SERVER_ENGINE_STEP_COST_TABLE_H_

#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/api/model_spec.h"

namespace heatkv::server {

class StepCostTable {
 public:
  struct LadderCosts {
    // steps[branches - 1][scale][images - 1]: a step of so many images.  Beyond
    // the last number given, a step costs the last number.
    std::array<std::vector<std::vector<absl::Duration>>, 2> steps;
    absl::Duration decode;  // of one finished image
  };

  // ladders[i] is for ladder i of `spec`; `text` is the encoding of one prompt.
  //
  // Fails with InvalidArgument, naming ladder, branches and scale and both
  // numbers, if a ladder or scale is missing or too many, if a scale has no
  // cost, or if a cost is negative or not finite.
  static absl::StatusOr<StepCostTable> Create(const model::ModelSpec& spec,
                                              std::vector<LadderCosts> ladders,
                                              absl::Duration text,
                                              std::string source);

  // One step of `images` images, 1 or more.
  absl::Duration Step(int ladder, int scale, int branches, int images) const {
    const auto& of_images = ladders_[ladder].steps[branches - 1][scale];
    const auto last = static_cast<int>(of_images.size());
    return of_images[(images < last ? images : last) - 1];
  }
  absl::Duration Decode(int ladder) const { return ladders_[ladder].decode; }
  absl::Duration text() const { return text_; }

  // One image that has the device for itself: text, all scales, decoding.
  absl::Duration ImageAlone(int ladder, int branches) const;

  // "measured: ..." or "modelled: ...".
  const std::string& source() const { return source_; }

 private:
  StepCostTable(std::vector<LadderCosts> ladders, absl::Duration text,
                std::string source)
      : ladders_(std::move(ladders)), text_(text), source_(std::move(source)) {}

  std::vector<LadderCosts> ladders_;
  absl::Duration text_;
  std::string source_;
};

// Rates at which a device works, as a roofline has them.  The defaults are of
// the class of an H200: rates that well-made bfloat16 kernels of this
// generation reach, and the share of a picture that is neither matrix product
// nor attention.  With them Infinity-2B makes one image of 1024x1024 in about
// 0.23 s, which is what this project aims at, not what it was seen to do.
struct DeviceRates {
  std::string name = "H200 class";
  double bytes_per_second = 3.3e12;        // weights read once a step
  double linear_flop_per_second = 650e12;  // matrix products
  double attention_flop_per_second = 620e12;
  double row_seconds = 0.475e-6;   // norms, embeddings, sampling; one row
  double pixel_seconds = 28.6e-9;  // decoding; one pixel
};

// For each scale the greater of reading the transformer's weights (2 bytes
// each) and its matrix products, plus attention and what costs by rows.
//   matrix products  2 (6 C^2 + 2 C M) L a row, for C the width, M the width of
//                    the perceptron, L layers: 28 C^2 L where M = 4 C
//   attention        4 C L for each pair of row and token before or beside it,
//                    plus the 50 tokens of an average prompt
// Attention counts the full history: what a schedule has dropped is not
// deducted.  A step of a grouped scale costs as much as one of the group's
// capacity, because its shape is fixed (model::GroupCapacity).
StepCostTable ModeledCosts(const model::ModelSpec& spec,
                           const DeviceRates& rates = {});

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_STEP_COST_TABLE_H_
