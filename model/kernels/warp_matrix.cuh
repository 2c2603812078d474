// What a warp computes and fetches together on GPUs of compute capability 8.0
// and later: products of small bf16 matrices, and copies from global to shared
// memory that run while threads go on.  The instructions alone, one a function.
//
// Where a matrix's values lie among the lanes (PTX ISA, "Matrix fragments for
// mma.m16n8k16"), with g = lane / 4 and t = lane % 4; a register holds two bf16
// with the first one in its lower half:
//
//   a [16, 16]: a[0]: (g, 2t), (g, 2t + 1);      a[1]: rows + 8;
//               a[2]: (g, 2t + 8), (g, 2t + 9);  a[3]: rows + 8
//   b [16, 8]:  b[0]: (2t, g), (2t + 1, g);      b[1]: rows + 8
//   c [16, 8]:  c[0], c[1]: (g, 2t), (g, 2t + 1);  c[2], c[3]: rows + 8
//
// For kernels alone.

#ifndef MODEL_KERNELS_WARP_MATRIX_CUH_
#define MODEL_KERNELS_WARP_MATRIX_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace heatkv::kernels {

// c += a * b.
__device__ inline void MultiplyAdd(float (&c)[4], const std::uint32_t (&a)[4],
                                   std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices [8, 8] of bf16 in shared memory, transposed: lane 8 * i + r
// gives the address of row r of matrix i, and out[i] becomes its values
// (2t, g), (2t + 1, g).
__device__ inline void LoadTransposed(std::uint32_t (&out)[4],
                                      const void* row) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
      : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(row)))
      : "memory");
}

// Copies 16 bytes to shared memory, or makes them zeros without reading `from`.
__device__ inline void CopyOrClear(void* to, const void* from, bool copies) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<std::uint32_t>(__cvta_generic_to_shared(to))),
               "l"(__cvta_generic_to_global(from)), "r"(copies ? 16 : 0)
               : "memory");
}

// Ends a group of this thread's copies, which may be empty.
__device__ inline void EndCopyGroup() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits for all but the last group.
__device__ inline void WaitForAllButOneCopyGroup() {
  asm volatile("cp.async.wait_group 1;" ::: "memory");
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_WARP_MATRIX_CUH_
