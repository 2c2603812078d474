#include "model/infinity/bit_probabilities.h"

#include <ATen/ATen.h>

namespace heatkv::model {

at::Tensor GuidedLogits(const at::Tensor& logits, double guidance, double tau) {
  // The authors divide by tau first and by way of its reciprocal.
  const at::Tensor scaled = logits.to(at::kFloat) * (1.0 / tau);
  const at::Tensor guided =
      guidance == 1.0 ? scaled[0]
                      : guidance * scaled[0] + (1.0 - guidance) * scaled[1];
  return guided.reshape({guided.size(0), guided.size(1) / 2, 2});
}

at::Tensor BitProbabilities(const at::Tensor& guided_logits, double top_p) {
  const at::Tensor p = at::softmax(guided_logits, -1);
  const at::Tensor dropped =
      p.le(1.0 - top_p).logical_and_(p.lt(p.amax({-1}, /*keepdim=*/true)));
  const at::Tensor kept = p.masked_fill(dropped, 0.0);
  return kept / kept.sum({-1}, /*keepdim=*/true);
}

}  // namespace heatkv::model
