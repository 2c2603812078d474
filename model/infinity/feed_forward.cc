#include "model/infinity/feed_forward.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace heatkv::model {

FeedForward FeedForward::Take(WeightStore& weights, const std::string& prefix,
                              int width, int mlp_width) {
  FeedForward layer;
  layer.widen_ = Linear::TakeMatrix(weights, absl::StrCat(prefix, ".fc1"),
                                    mlp_width, width);
  layer.narrow_ = Linear::TakeMatrix(weights, absl::StrCat(prefix, ".fc2"),
                                     width, mlp_width);
  return layer;
}

at::Tensor FeedForward::operator()(const at::Tensor& x) const {
  at::Tensor hidden = widen_(x);
  at::gelu_(hidden, "tanh");
  return narrow_(hidden);
}

}  // namespace heatkv::model
