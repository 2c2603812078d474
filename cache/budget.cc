#include "cache/budget.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace heatkv::cache {
namespace {

// What the authors' code forgives a budget below the sinks.
constexpr double kSlack = 1e-12;

}  // namespace

absl::StatusOr<Budget> Budget::Create(double fraction) {
  if (!(fraction >= 0.0 && fraction <= 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("budget must be in [0, 1], but is ", fraction));
  }
  return Budget(fraction);
}

absl::StatusOr<Budget> Budget::Parse(std::string_view text) {
  double fraction;
  if (!absl::SimpleAtod({text.data(), text.size()}, &fraction)) {
    return absl::InvalidArgumentError(
        absl::StrCat("budget must be a number in [0, 1], but is '",
                     absl::string_view(text.data(), text.size()), "'"));
  }
  return Create(fraction);
}

double Budget::tokens_a_head(const ScaleLadder& ladder) const {
  return fraction_ * static_cast<double>(ladder.full_tokens());
}

double Budget::model_tokens(const ScaleLadder& ladder, int layers,
                            int heads) const {
  // From left to right, as the authors do: the order decides the last bit.
  return fraction_ * layers * heads * static_cast<double>(ladder.full_tokens());
}

bool Budget::is_below_sinks(const ScaleLadder& ladder) const {
  const double least = static_cast<double>(ladder.sink_tokens()) /
                       static_cast<double>(ladder.full_tokens());
  return fraction_ + kSlack < least;
}

int Budget::heads_to_drop(const ScaleLadder& ladder, int layers, int heads,
                          int scale) const {
  const std::int64_t all = std::int64_t{layers} * heads;
  const std::int64_t before = ladder.tokens_before(scale);
  const double allowed = tokens_a_head(ladder);
  if (static_cast<double>(before) <= allowed) return 0;
  if (before <= ladder.sink_tokens()) return static_cast<int>(all);
  const double over = static_cast<double>(before) - allowed;
  const double droppable = static_cast<double>(before - ladder.sink_tokens());
  const double count = std::ceil(static_cast<double>(all) * over / droppable);
  return static_cast<int>(std::clamp(count, 0.0, static_cast<double>(all)));
}

std::string Budget::ToString() const {
  char text[32];
  const std::to_chars_result result =
      std::to_chars(text, text + sizeof(text), fraction_);
  return std::string(text, result.ptr);
}

}  // namespace heatkv::cache
