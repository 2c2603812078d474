#include "model/cuda/row_texts.h"

#include <ATen/ATen.h>

#include "base/check.h"

namespace heatkv::model {

std::vector<kernels::RowText> RowTexts(
    std::span<const TextCondition* const> texts) {
  std::vector<kernels::RowText> rows;
  for (const TextCondition* text : texts) {
    const at::Tensor& packed = text->packed;
    HEATKV_CHECK(packed.defined() && packed.scalar_type() == at::kBFloat16);
    HEATKV_CHECK_EQ(packed.size(2), text->tokens);
    const std::int64_t token = packed.size(3) * packed.size(4);
    // Of a layer's keys, whether or not they are the text's.
    const std::int64_t room = packed.stride(1) / token;
    // Where there is one only, no matter how far the next would be.
    const std::int64_t strides[] = {2 * room * token, room * token, token,
                                    packed.size(4), 1};
    for (int i = 0; i < 5; ++i) {
      HEATKV_CHECK(packed.size(i) == 1 || packed.stride(i) == strides[i])
          << "dimension " << i << ": " << packed.stride(i) << ", not "
          << strides[i];
    }
    rows.push_back({.keys_values = packed.const_data_ptr(),
                    .tokens = text->tokens,
                    .room = static_cast<std::int32_t>(room)});
  }
  return rows;
}

}  // namespace heatkv::model
