// How many bytes a decoding takes at most, beside the VAE's weights: an upper
// bound that follows the code of decoder.cc, residual_block.cc and
// image_in_bands.cc.  A work space that a convolution of a GPU may have is not
// counted.
//
// Pure functions of plain values; no torch.  Thread safety: stateless.

#ifndef MODEL_VAE_DECODING_BYTES_H_
#define MODEL_VAE_DECODING_BYTES_H_

#include <cstdint>

#include "cache/ladder.h"
#include "model/api/model_spec.h"

namespace heatkv::model {

// Of an image of so many cells, with the picture as numbers and as bytes.
// `tile` is VaeDecoder::Decode's.
std::int64_t DecodingBytes(const VaeSpec& spec, const cache::Grid& cells,
                           int tile, bool is_on_gpu);

}  // namespace heatkv::model

#endif  // MODEL_VAE_DECODING_BYTES_H_
