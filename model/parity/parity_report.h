// How far a run of ours is from the recorded one.

#ifndef MODEL_PARITY_PARITY_REPORT_H_
#define MODEL_PARITY_PARITY_REPORT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

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

  // Logits and bits of the next scale: the two above, and an entry of its own
  // in the report.
  void CompareScale(const at::Tensor& logits, const at::Tensor& recorded_logits,
                    const at::Tensor& bits, const at::Tensor& recorded_bits);

  // Of the scale that was compared last: the bits that a server draws from our
  // logits, and those that the same random numbers draw from the recorded ones.
  void CompareServerBits(const at::Tensor& mine, const at::Tensor& expected);

  // uint8, in the same channel order.  Every channel counts as a pixel.
  void ComparePixels(const at::Tensor& mine, const at::Tensor& recorded);

  // Whether logits and, with pictures, pixels were compared at all and all are
  // within the tolerances.
  bool Passes() const;

  // One JSON object: the largest relative error of each kind (null if the
  // folder records nothing of the kind), bits_total, bits_flipped,
  // pixels_total, pixels_off, pixels_off_by_more_than_1, the pictures' psnr in
  // dB (null if there are none or they are equal), and `scales`, a list with
  // logits_relative_rms (root of the mean square of the difference over that of
  // the recorded values), logits_relative_max, bits_total, bits_flipped and
  // server_bits_flipped (null if they were not compared).
  std::string ToJson() const;

 private:
  struct Scale {
    double relative_rms = 0;
    double relative_max = 0;
    std::int64_t bits_total = 0;
    std::int64_t bits_flipped = 0;
    std::optional<std::int64_t> server_bits_flipped;
  };
  std::optional<double> Psnr() const;

  bool with_pictures_;
  std::vector<Scale> scales_;
  std::map<std::string, double> errors_;
  std::int64_t bits_total_ = 0;
  std::int64_t bits_flipped_ = 0;
  std::int64_t pixels_total_ = 0;
  std::int64_t pixels_off_ = 0;
  std::int64_t pixels_off_by_more_than_1_ = 0;
  double pixels_square_ = 0;  // sum of the differences' squares
};

}  // namespace heatkv::model

#endif  // MODEL_PARITY_PARITY_REPORT_H_
