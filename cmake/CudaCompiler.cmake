# Where NVIDIA's compiler is.  To be included before the language CUDA is enabled.
#
# What the caller names (CMAKE_CUDA_COMPILER, the environment's CUDACXX) comes
# first, then the one that tools/setup.sh put into third_party/cuda, then the
# machine's own.

set(HEATKV_CUDA_DIR ${PROJECT_SOURCE_DIR}/third_party/cuda
    CACHE PATH "Folder that tools/setup.sh unpacked NVIDIA's compiler into")
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(
    HEATKV_NVCC nvcc
    PATHS ${HEATKV_CUDA_DIR}/bin
    NO_DEFAULT_PATH)
  find_program(HEATKV_NVCC nvcc PATHS /usr/local/cuda/bin)
  if(NOT HEATKV_NVCC)
    message(FATAL_ERROR "No nvcc: run tools/setup.sh --cuda-compile")
  endif()
  set(CMAKE_CUDA_COMPILER ${HEATKV_NVCC})
endif()
if(HEATKV_NVCC MATCHES "^${HEATKV_CUDA_DIR}/")
  set(CUDAToolkit_ROOT ${HEATKV_CUDA_DIR})
endif()

# CUDA 13 has no nvToolsExt, and find_package(CUDAToolkit) of CMake 3.25 (Debian
# 12) stops where it does not exist.  Nobody links to this one.
if(NOT TARGET CUDA::nvToolsExt)
  add_library(CUDA::nvToolsExt INTERFACE IMPORTED)
endif()

# CMake 3.25.1 does not know that NVIDIA's compiler has C++20.
if(CMAKE_VERSION VERSION_LESS 3.26)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
