// Group normalisation over 32 groups and what always follows it in the VAE,
// x sigmoid(x) (specification section 6), of whole images and of images that
// are there in bands of rows only: then the sums of all bands come first, and
// every band is normalised with the whole image's statistics.

#ifndef MODEL_VAE_GROUP_NORM_H_
#define MODEL_VAE_GROUP_NORM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/weights/weight_store.h"

namespace heatkv::model {

// Adds up an image band by band.
class GroupSums {
 public:
  // rows [1, channels, rows, width] + input_bias, which is as
  // Convolution::deferred_bias has it.
  void Add(const at::Tensor& rows, const at::Tensor& input_bias);

  // float32 [groups, 2]: mean and inverse deviation of each group.
  at::Tensor Statistics() const;

 private:
  // On a GPU of channels, on the CPU of groups.
  std::vector<at::Tensor> sums_;
  std::int64_t pixels_ = 0;
};

struct GroupNorm {
  at::Tensor weight;  // [channels]
  at::Tensor bias;    // [channels]

  // Takes PREFIX.norm.{weight,bias}, or PREFIX.{weight,bias}.
  static GroupNorm Take(WeightStore& weights, const std::string& prefix,
                        int channels);

  // swish(norm(x)).
  at::Tensor operator()(const at::Tensor& x) const;

  // The same of x + input_bias, where x is used up.
  at::Tensor Consume(at::Tensor x, const at::Tensor& input_bias) const;

  // The same of rows + input_bias, some rows of an image with these statistics.
  // With `may_write` the result takes their place.
  at::Tensor Rows(const at::Tensor& rows, const at::Tensor& input_bias,
                  const at::Tensor& statistics, bool may_write) const;
};

}  // namespace heatkv::model

#endif  // MODEL_VAE_GROUP_NORM_H_
