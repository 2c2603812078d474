// The block's two-layer perceptron with tanh-approximated GELU.

#ifndef MODEL_INFINITY_FEED_FORWARD_H_
#define MODEL_INFINITY_FEED_FORWARD_H_

#include <ATen/core/Tensor.h>

#include <string>

#include "model/infinity/linear.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class FeedForward {
 public:
  // Takes PREFIX.fc1.* and PREFIX.fc2.*.
  static FeedForward Take(WeightStore& weights, const std::string& prefix,
                          int width, int mlp_width);

  // x [..., width] -> the same shape.
  at::Tensor operator()(const at::Tensor& x) const;

  const Linear& widen() const { return widen_; }
  const Linear& narrow() const { return narrow_; }

 private:
  Linear widen_;
  Linear narrow_;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_FEED_FORWARD_H_
