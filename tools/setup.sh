#!/usr/bin/env bash
# Installs what this machine still lacks to build, test and run HeatKV Server:
# Debian packages, LibTorch (shared libraries and headers out of the pinned PyPI
# wheels, into third_party/libtorch), the Python packages of the tests (into
# third_party/python) and, when asked, NVIDIA's compiler (into third_party/cuda) and
# FlashInfer's headers (into third_party/flashinfer).
# Safe to interrupt and to run again: every step checks what is there first, and
# every folder appears only when it is complete.
#
#   tools/setup.sh                  everything this machine can use
#   tools/setup.sh --cuda           also LibTorch's GPU half, where no GPU is,
#                                   FlashInfer, and the compiler, unless the
#                                   machine has one: to build for machines with a
#                                   GPU (2 GB more)
#   tools/setup.sh --cuda-compile   also FlashInfer and the compiler alone (0.1 GB
#                                   more), so that all machines compile with the
#                                   same: to compile and link for a GPU, not to run
#   tools/setup.sh --check          only say what is missing; exit 1 if anything
#                                   is
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

readonly PACKAGES=tools/debian-packages.txt
readonly LIBTORCH=tools/libtorch.txt
readonly LIBTORCH_CUDA=tools/libtorch-cuda.txt
readonly CUDA_COMPILER=tools/cuda-compiler.txt
readonly FLASHINFER=tools/flashinfer.txt
readonly PYTHON_REQUIREMENTS=tools/python-requirements.txt
readonly LIBTORCH_DIR=third_party/libtorch
readonly CUDA_DIR=third_party/cuda
readonly FLASHINFER_DIR=third_party/flashinfer
readonly PYTHON_DIR=third_party/python

check_only=false
cuda=false
cuda_compile=false
[ -e /dev/nvidiactl ] && cuda=true
for argument in "$@"; do
  case $argument in
    --check) check_only=true ;;
    --cuda) cuda=true ;;
    --cuda-compile) cuda_compile=true ;;
    *)
      echo "usage: tools/setup.sh [--cuda | --cuda-compile] [--check]" >&2
      exit 2
      ;;
  esac
done

say() { printf '[setup] %s\n' "$*"; }
fail() {
  printf '[setup] error: %s\n' "$*" >&2
  exit 1
}

missing_packages() {
  local wanted
  wanted=$(grep -v '^#' "$PACKAGES")
  command -v dpkg-query > /dev/null || { echo "$wanted"; return; }
  local package
  for package in $wanted; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" \
      = installed ] || echo "$package"
  done
}

# The stamp of a folder holds the checksums of the lists it was made from.
stamp_of() { cat "$@" | sha256sum | cut -d ' ' -f 1; }
is_current() {
  local folder=$1
  shift
  [ "$(cat "$folder/.stamp" 2> /dev/null)" = "$(stamp_of "$@")" ]
}

# Downloads the wheels of the lists (arguments after the first) into a folder.
# --python-version picks the wheel; the libraries inside do not depend on it.
download_wheels() {
  local folder=$1
  shift
  local platforms=() tag
  for tag in 2_28 2_27 2_25 2_18 2_17 2_12; do
    platforms+=(--platform "manylinux_${tag}_x86_64")
  done
  platforms+=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64)
  [ "$(uname -m)" = x86_64 ] ||
    fail "the pinned wheels are built for x86_64; this machine is $(uname -m)"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps \
    --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
    --abi none "${platforms[@]}" --require-hashes \
    --dest "$folder" "${@/#/--requirement=}"
}

# Whether the machine's own compiler is one for the CUDA that LibTorch is built
# for.  CMake looks in the same places (cmake/CudaCompiler.cmake).
readonly CUDA_MAJOR=$(sed -n 's/^nvidia-cuda-nvcc==\([0-9]*\).*/\1/p' "$CUDA_COMPILER")
has_nvcc() {
  local nvcc
  for nvcc in "$(command -v nvcc)" /usr/local/cuda/bin/nvcc; do
    [ -x "$nvcc" ] && "$nvcc" --version | grep -q "release $CUDA_MAJOR\." &&
      return 0
  done
  return 1
}

packages=$(missing_packages | tr '\n' ' ')
lists=("$LIBTORCH")
$cuda && lists+=("$LIBTORCH_CUDA")
need_libtorch=true
# A LibTorch with its GPU half serves a CPU build as well.
{ is_current "$LIBTORCH_DIR" "${lists[@]}" ||
  is_current "$LIBTORCH_DIR" "$LIBTORCH" "$LIBTORCH_CUDA"; } &&
  need_libtorch=false
# One that an older set-up unpacked has nothing to link a GPU program to.
$cuda_compile && ! [ -e "$LIBTORCH_DIR/torch/link-only/libtorch_cuda.so" ] &&
  need_libtorch=true
need_compiler=false
{ $cuda_compile || { $cuda && ! has_nvcc; }; } &&
  ! is_current "$CUDA_DIR" "$CUDA_COMPILER" && need_compiler=true
need_flashinfer=false
{ $cuda || $cuda_compile; } && ! is_current "$FLASHINFER_DIR" "$FLASHINFER" &&
  need_flashinfer=true
need_python=true
is_current "$PYTHON_DIR" "$PYTHON_REQUIREMENTS" && need_python=false

if $check_only; then
  [ -z "$packages" ] || say "missing Debian packages: $packages"
  $need_libtorch && say "missing: LibTorch in $LIBTORCH_DIR"
  $need_python && say "missing: Python packages in $PYTHON_DIR"
  $need_compiler && say "missing: NVIDIA's compiler in $CUDA_DIR"
  $need_flashinfer && say "missing: FlashInfer in $FLASHINFER_DIR"
  if [ -n "$packages" ] || $need_libtorch || $need_python || $need_compiler ||
    $need_flashinfer; then
    exit 1
  fi
  say "nothing is missing"
  exit 0
fi

if [ -n "$packages" ]; then
  command -v apt-get > /dev/null ||
    fail "this machine has no apt-get; HeatKV Server is set up on Debian 12." \
      "Packages needed: $packages"
  [ "$(id -u)" = 0 ] ||
    fail "Debian packages are missing and only root may install them. Run once:" \
      "sudo apt-get install $packages"
  say "installing Debian packages: $packages"
  log=$(mktemp)
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends $packages; } > "$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "apt-get could not install them (its last lines are above). It needs" \
      "the network, or a mirror that /etc/apt names."
  fi
  say "$(grep -hE '^(Need to get|After this operation)' "$log" | tr '\n' ' ')"
  rm -f "$log"
fi

if $need_libtorch; then
  size="about 520 MB"
  $cuda && size="with the CUDA libraries of its GPU half, about 2.4 GB"
  say "downloading LibTorch: $(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$LIBTORCH")" \
    "and what it is linked to ($size)"
  work=third_party/.libtorch-partial
  rm -rf "$work"
  mkdir -p "$work/wheels"
  download_wheels "$work/wheels" "${lists[@]}" ||
    fail "LibTorch could not be downloaded from the Python package index; the" \
      "network (or the index that pip is set to) is needed once"
  gpu_flag=()
  $cuda && gpu_flag=(--cuda)
  python3 tools/unpack_libtorch.py "${gpu_flag[@]}" "$work/wheels" "$work/libtorch"
  rm -rf "$work/wheels"
  stamp_of "${lists[@]}" > "$work/libtorch/.stamp"
  rm -rf "$LIBTORCH_DIR"
  mv "$work/libtorch" "$LIBTORCH_DIR"
  rmdir "$work"
  say "LibTorch is in $LIBTORCH_DIR: $(du -sm "$LIBTORCH_DIR" | cut -f 1) MB"
fi

if $need_compiler; then
  say "downloading NVIDIA's compiler" \
    "$(sed -n 's/^nvidia-cuda-nvcc==\([^ ]*\).*/\1/p' "$CUDA_COMPILER")" \
    "(about 105 MB)"
  work=third_party/.cuda-partial
  rm -rf "$work"
  mkdir -p "$work/wheels"
  download_wheels "$work/wheels" "$CUDA_COMPILER" ||
    fail "NVIDIA's compiler could not be downloaded from the Python package" \
      "index; the network (or the index that pip is set to) is needed once"
  python3 tools/unpack_cuda_compiler.py "$work/wheels" "$work/cuda"
  stamp_of "$CUDA_COMPILER" > "$work/cuda/.stamp"
  rm -rf "$CUDA_DIR"
  mv "$work/cuda" "$CUDA_DIR"
  rm -rf "$work"
  say "NVIDIA's compiler is in $CUDA_DIR: $(du -sm "$CUDA_DIR" | cut -f 1) MB"
fi

if $need_flashinfer; then
  say "downloading FlashInfer" \
    "$(sed -n 's/^flashinfer-python==\([^ ]*\).*/\1/p' "$FLASHINFER") (10 MB)"
  work=third_party/.flashinfer-partial
  rm -rf "$work"
  mkdir -p "$work/wheels"
  download_wheels "$work/wheels" "$FLASHINFER" ||
    fail "FlashInfer could not be downloaded from the Python package index; the" \
      "network (or the index that pip is set to) is needed once"
  python3 tools/unpack_flashinfer.py "$work/wheels" "$work/flashinfer"
  stamp_of "$FLASHINFER" > "$work/flashinfer/.stamp"
  rm -rf "$FLASHINFER_DIR"
  mv "$work/flashinfer" "$FLASHINFER_DIR"
  rm -rf "$work"
  say "FlashInfer is in $FLASHINFER_DIR: $(du -sm "$FLASHINFER_DIR" | cut -f 1) MB"
fi

if $need_python; then
  say "installing the Python packages of the tests"
  work=third_party/.python-partial
  rm -rf "$work" "$PYTHON_DIR"
  mkdir -p third_party
  python3 -m venv "$work"
  "$work/bin/python" -m pip install --quiet --disable-pip-version-check \
    --only-binary=:all: --requirement "$PYTHON_REQUIREMENTS" ||
    fail "the Python packages in $PYTHON_REQUIREMENTS could not be installed" \
      "from the Python package index; the network is needed once"
  stamp_of "$PYTHON_REQUIREMENTS" > "$work/.stamp"
  mv "$work" "$PYTHON_DIR"
  say "the Python packages are in $PYTHON_DIR: $(du -sm "$PYTHON_DIR" | cut -f 1) MB"
fi
say "ready"
