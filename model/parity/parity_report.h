// How far a run of ours is from the recorded one.

#ifndef MODEL_PARITY_PARITY_REPORT_H_
#define MODEL_PARITY_PARITY_REPORT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

namespace heatkv::model {

class ParityReport {
 public:
  // What counts as equal: rounding differs between implementations, but no bit
  // may flip and no pixel may be off by more than one grey level, which is what
  // truncation makes of a rounding difference.
  static constexpr double kLogitsTolerance = 1e-4;

  // `with_pictures` is false for a run without a VAE.
  explicit ParityReport(bool with_pictures);

  // Notes max|mine - recorded| / max|recorded| under `kind`: "text", "logits",
  // "next_input", "summed_codes" or "decoded".  Both have as many values, in
  // the same order.
  void Compare(const std::string& kind, const at::Tensor& mine,
               const at::Tensor& recorded);

  void CompareBits(const at::Tensor& mine, const at::Tensor& recorded);

  // uint8, in the same channel order.  Every channel counts as a pixel.
  void ComparePixels(const at::Tensor& mine, const at::Tensor& recorded);

  // Whether logits and, with pictures, pixels were compared at all and all are
  // within the tolerances.
  bool Passes() const;

  // One JSON object: the largest relative error of each kind (null if the
  // folder records nothing of the kind), bits_total, bits_flipped,
  // pixels_total, pixels_off and pixels_off_by_more_than_1.
  std::string ToJson() const;

 private:
  bool with_pictures_;
  std::map<std::string, double> errors_;
  std::int64_t bits_total_ = 0;
  std::int64_t bits_flipped_ = 0;
  std::int64_t pixels_total_ = 0;
  std::int64_t pixels_off_ = 0;
  std::int64_t pixels_off_by_more_than_1_ = 0;
};

}  // namespace heatkv::model

#endif  // MODEL_PARITY_PARITY_REPORT_H_
