# Third-party packages, each looked up once.  All come from Debian 12, except
# LibTorch (cmake/LibTorch.cmake).

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(GTest REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)

if(HEATKV_SERVICES)
  find_package(Protobuf REQUIRED)
  find_package(gRPC REQUIRED)
  find_package(prometheus-cpp REQUIRED CONFIG)
  pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
  pkg_check_modules(SPNG REQUIRED IMPORTED_TARGET spng)
  pkg_check_modules(TURBOJPEG REQUIRED IMPORTED_TARGET libturbojpeg)
  pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp)
endif()

if(HEATKV_SERVICES OR HEATKV_CUDA)
  find_package(yaml-cpp REQUIRED)
endif()

if(HEATKV_TORCH)
  pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
  include(LibTorch)
endif()
