# The target FlashInfer::headers: FlashInfer's kernels as C++ templates, and
# CUTLASS, on which they are built, as tools/setup.sh took them out of the pinned
# wheel.

set(HEATKV_FLASHINFER_DIR ${PROJECT_SOURCE_DIR}/third_party/flashinfer
    CACHE PATH "Folder with flashinfer/include and cutlass/include")
if(NOT EXISTS
   ${HEATKV_FLASHINFER_DIR}/flashinfer/include/flashinfer/attention/hopper)
  message(
    FATAL_ERROR
      "FlashInfer is not in ${HEATKV_FLASHINFER_DIR}: run tools/setup.sh "
      "--cuda-compile, or leave 90 out of CMAKE_CUDA_ARCHITECTURES")
endif()
add_library(FlashInfer::headers INTERFACE IMPORTED)
target_include_directories(
  FlashInfer::headers SYSTEM
  INTERFACE ${HEATKV_FLASHINFER_DIR}/flashinfer/include
            ${HEATKV_FLASHINFER_DIR}/cutlass/include)
