// The budget: which fraction of the full cache may stay.
//
// All arithmetic that compares token counts with a budget is here, because the
// published schedules depend on it to the last bit: the authors compute with
// IEEE doubles in one fixed order of operations, and a budget such as 0.1 is
// the double nearest to it.  Two budgets that differ by one unit in the last
// place may give two schedules.
//
// A plain value, safe to copy between threads.

#ifndef CACHE_BUDGET_H_
#define CACHE_BUDGET_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cache/ladder.h"

namespace heatkv::cache {

class Budget {
 public:
  // Fails with InvalidArgument unless `fraction` is a number in [0, 1].
  static absl::StatusOr<Budget> Create(double fraction);

  // Reads a decimal number ("0.1"), rounded to the nearest double.  Fails with
  // InvalidArgument, quoting `text`, if it is no number or not in [0, 1].
  static absl::StatusOr<Budget> Parse(std::string_view text);

  // The whole cache.
  static Budget Full() { return Budget(1.0); }

  double fraction() const { return fraction_; }

  // b T*: average tokens that a head may keep.
  double tokens_a_head(const ScaleLadder& ladder) const;

  // Theta = b L H T*: tokens that all heads of the model together may keep, for
  // one branch.
  double model_tokens(const ScaleLadder& ladder, int layers, int heads) const;

  // Whether the sink tokens, which nobody may drop, are more than the budget
  // allows (beyond the 1e-12 that the authors forgive).
  bool is_below_sinks(const ScaleLadder& ladder) const;

  // x_t: how many heads of the model must drop each prunable source scale so
  // that the cache read by target scale `scale` fits the budget.
  //   0                                    if T(t) <= b T*
  //   ceil(LH (T(t) - b T*) / (T(t) - R))  otherwise, at most LH
  // `scale` in [0, num_scales).  Not meaningful if is_below_sinks().
  int heads_to_drop(const ScaleLadder& ladder, int layers, int heads,
                    int scale) const;

  // The shortest decimal number that reads back as this budget: "0.1".
  std::string ToString() const;

  friend bool operator==(const Budget&, const Budget&) = default;

 private:
  explicit Budget(double fraction) : fraction_(fraction) {}

  double fraction_;
};

}  // namespace heatkv::cache

#endif  // CACHE_BUDGET_H_
