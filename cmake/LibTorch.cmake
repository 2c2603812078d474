# The target LibTorch::cpu: shared libraries and headers that tools/setup.sh took
# out of the pinned wheels.  We do not use the wheel's own TorchConfig.cmake: it
# insists on a CUDA toolkit even for a program that only uses the CPU.

set(HEATKV_LIBTORCH_DIR ${PROJECT_SOURCE_DIR}/third_party/libtorch
    CACHE PATH "Folder with torch/{include,lib} and nvidia/")
if(NOT EXISTS ${HEATKV_LIBTORCH_DIR}/torch/lib/libtorch_cpu.so)
  message(
    FATAL_ERROR
      "LibTorch is not in ${HEATKV_LIBTORCH_DIR}: run tools/setup.sh, or "
      "configure with -DHEATKV_TORCH=OFF (preset 'core')")
endif()

add_library(LibTorch::cpu INTERFACE IMPORTED)
target_include_directories(
  LibTorch::cpu SYSTEM
  INTERFACE ${HEATKV_LIBTORCH_DIR}/torch/include
            ${HEATKV_LIBTORCH_DIR}/torch/include/torch/csrc/api/include)
target_link_libraries(
  LibTorch::cpu
  INTERFACE ${HEATKV_LIBTORCH_DIR}/torch/lib/libtorch_cpu.so
            ${HEATKV_LIBTORCH_DIR}/torch/lib/libc10.so)
# libtorch_cpu.so finds the CUDA runtime beside itself when a program starts;
# the linker must be told where to look for it.
target_link_options(
  LibTorch::cpu INTERFACE
  -Wl,-rpath-link,${HEATKV_LIBTORCH_DIR}/nvidia/cu13/lib
  -Wl,-rpath-link,${HEATKV_LIBTORCH_DIR}/torch/lib)

# The GPU half, for the presets 'cuda' and 'cuda-compile'.
option(HEATKV_CUDA_LINK_ONLY
       "Link to what a linker reads of LibTorch's GPU half: programs cannot run"
       OFF)
if(HEATKV_CUDA)
  target_include_directories(LibTorch::cpu SYSTEM
                             INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  set(HEATKV_LIBTORCH_GPU_DIR ${HEATKV_LIBTORCH_DIR}/torch/lib)
  set(HEATKV_SETUP_FLAG --cuda)
  if(HEATKV_CUDA_LINK_ONLY)
    set(HEATKV_LIBTORCH_GPU_DIR ${HEATKV_LIBTORCH_DIR}/torch/link-only)
    set(HEATKV_SETUP_FLAG --cuda-compile)
    # The CUDA libraries that LibTorch is linked to are not here.  What our own
    # objects refer to must still be found.
    target_link_options(LibTorch::cpu INTERFACE -Wl,--allow-shlib-undefined)
  endif()
  if(NOT EXISTS ${HEATKV_LIBTORCH_GPU_DIR}/libtorch_cuda.so)
    message(
      FATAL_ERROR
        "No GPU half of LibTorch in ${HEATKV_LIBTORCH_GPU_DIR}: run "
        "tools/setup.sh ${HEATKV_SETUP_FLAG}")
  endif()
  # Nothing refers to a symbol of libtorch_cuda.so: it registers its kernels
  # when it is loaded, so the linker must keep it.
  target_link_options(
    LibTorch::cpu INTERFACE -Wl,--no-as-needed
    ${HEATKV_LIBTORCH_GPU_DIR}/libtorch_cuda.so
    ${HEATKV_LIBTORCH_GPU_DIR}/libc10_cuda.so -Wl,--as-needed)
  foreach(part cudnn cusparselt nccl nvshmem)
    target_link_options(
      LibTorch::cpu INTERFACE
      -Wl,-rpath-link,${HEATKV_LIBTORCH_DIR}/nvidia/${part}/lib)
  endforeach()
endif()
