#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>

// FlashInfer's header of that guard draws CUTLASS's test tools in, which want
// cuRAND's headers.  Its attention needs nothing of it but CuTe.
#define FLASHINFER_CUTLASS_UTILS_CUH_
#include <cuda_fp8.h>
#include <cutlass/cutlass.h>
#include <cutlass/numeric_types.h>

#include <cute/tensor.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>

#include "model/kernels/cuda_calls.cuh"
#include "model/kernels/hopper_attention.h"

namespace heatkv::kernels {
namespace {

using Bf16 = cutlass::bfloat16_t;
using Params =
    flashinfer::BatchPrefillRaggedParams<Bf16, Bf16, Bf16, std::int32_t>;

// The tiles that attention_work.h counts in.
constexpr auto kTiles =
    flashinfer::getCTATileSize<kHopperHeadWidth, kHopperHeadWidth,
                               /*CAUSAL=*/false>();
static_assert(std::get<0>(kTiles) == kQueryTile);
static_assert(std::get<1>(kTiles) == kKeyTile);

}  // namespace

bool CanRunHopperAttention(int head_width) {
  return head_width == kHopperHeadWidth && IsHopper() &&
         HopperBlocks() <= kMostAttentionBlocks;
}

int HopperBlocks() { return Multiprocessors(); }

void Launch(const HopperAttention& work, Stream stream) {
  const AttentionShape& shape = work.shape;
  const AttentionWorkLayout layout(shape);
  std::int32_t* const list = const_cast<std::int32_t*>(work.work);
  const std::int64_t row_width = std::int64_t{shape.heads} * kHopperHeadWidth;
  const auto bf16 = [](const void* values) {
    return static_cast<Bf16*>(const_cast<void*>(values));
  };
  Params params{};
  params.q_ptr = bf16(work.queries);
  params.k_ptr = bf16(work.keys);
  params.v_ptr = bf16(work.values);
  params.o_ptr = static_cast<Bf16*>(work.out);
  params.lse_ptr = nullptr;
  params.work_indptr = list + layout.begin();
  params.qo_tile_indices = list + layout.tile();
  params.qo_indptr = list + layout.query_begin();
  params.head_indices = list + layout.head();
  params.qo_lens = list + layout.queries();
  params.kv_indptr = list + layout.key_begin();
  params.kv_lens = list + layout.keys();
  // Read, but of no consequence: it names what masks would belong to.
  params.batch_indices = list + layout.head();
  params.additional_params.sm_scale = work.scale;
  params.q_stride_n = params.o_stride_n = row_width;
  params.q_stride_h = params.o_stride_h = kHopperHeadWidth;
  // All sequences share one "head" of keys and values: staging as a whole.
  params.k_stride_n = params.v_stride_n = kHopperHeadWidth;
  params.k_stride_h = params.v_stride_h = kHopperHeadWidth;
  // Descriptors of tensors with a single row are wrong with some drivers.
  params.nnz_qo =
      std::max<std::int64_t>(2, std::int64_t{shape.rows} * shape.tokens);
  params.nnz_kv = work.staging_rows;
  params.num_qo_heads = shape.heads;
  params.num_kv_heads = 1;
  params.group_size = shape.heads;
  params.window_left = -1;
  params.causal = false;
  const cudaError_t error = flashinfer::BatchPrefillWithRaggedKVCacheDispatched<
      kHopperHeadWidth, kHopperHeadWidth, flashinfer::MaskMode::kNone,
      /*LEFT_SLIDING_WINDOW=*/false,
      /*SAME_SCHEDULE_FOR_ALL_HEADS=*/false, flashinfer::StandardAttention>(
      params, /*enable_pdl=*/false, stream);
  if (error != cudaSuccess) {
    throw CudaError(std::string("attention on Hopper: ") +
                    cudaGetErrorString(error));
  }
}

}  // namespace heatkv::kernels
