#!/bin/bash
# The full check on a machine with an NVIDIA GPU: builds with CUDA against the
# torch of its Python, runs the tests labelled gpu, the check of images alone
# and in company, and the benchmark.
#
#   tools/gpu_check.sh [--models DIR] [--debs DIR] [--out DIR] [STAGE...]
#
# --models  folder with the embedded model `default` (default: models)
# --debs    folder with Debian packages (*.deb) to take missing headers and
#           libraries from; they are copied under /usr where nothing is yet
# --out     folder for results (default: out/gpu)
# STAGE     build tests company bench; all of them if none is named
set -u
cd "$(dirname "$0")/.."
models=models
debs=
out=out/gpu
stages=()
while [ $# -gt 0 ]; do
  case $1 in
    --models) models=$(realpath "$2"); shift 2 ;;
    --debs) debs=$(realpath "$2"); shift 2 ;;
    --out) out=$2; shift 2 ;;
    *) stages+=("$1"); shift ;;
  esac
done
[ ${#stages[@]} -gt 0 ] || stages=(build tests company bench)
mkdir -p "$out"
build=${HEATKV_GPU_BUILD:-build/gpu}
export PATH=$PATH:/usr/local/cuda/bin
site=$(python3 -c 'import torch, pathlib
print(pathlib.Path(torch.__file__).parent.parent)')
libraries=/usr/local/cuda/lib64
for folder in "$site"/nvidia/*/lib; do libraries=$libraries:$folder; done
export LD_LIBRARY_PATH=$libraries:${LD_LIBRARY_PATH:-}
# Torch brings the shared C++ library in, so the compiler must be one that has
# it, too: a program with two of them frees what is not its own.
export CXX=/usr/bin/g++ CC=/usr/bin/gcc CUDAHOSTCXX=/usr/bin/g++
failed=0

stage() {
  local name=$1
  shift
  [[ " ${stages[*]} " == *" $name "* ]] || return 0
  echo "=== $name ($SECONDS s)"
  "$@" || { echo "=== $name FAILED ($SECONDS s)"; failed=1; }
}

do_build() {
  if [ -n "$debs" ]; then
    local unpacked
    unpacked=$(mktemp -d)
    for package in "$debs"/*.deb; do dpkg -x "$package" "$unpacked"; done
    cp -an "$unpacked"/usr/. /usr/
    ldconfig
  fi
  cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release \
    -DHEATKV_CUDA=ON -DHEATKV_SERVICES=OFF -DHEATKV_WERROR=OFF \
    -DHEATKV_LIBTORCH_DIR="$site" \
    -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined \
    -DCMAKE_CUDA_ARCHITECTURES="${HEATKV_GPU_ARCHITECTURES:-90-real}" \
    > "$out/configure.log" 2>&1 || { tail -30 "$out/configure.log"; return 1; }
  ninja -C "$build" -k 0 heatkv_model model_gpu_test heatkv_company_check \
    heatkv_bench_gpu > "$out/build.log" 2>&1 && return
  grep -E "error|undefined reference|FAILED" "$out/build.log" | head -60
  return 1
}

do_tests() { "$build"/tests/model_gpu_test --gtest_brief=1; }

do_company() {
  "$build"/bin/heatkv_company_check --model "$models/default" --device cuda \
    --images 12
}

do_bench() {
  "$build"/bin/heatkv_bench_gpu --model models/infinity-2b \
    --tokenizer "$models/default" --output "$out/bench-gpu.json" \
    --driver "$(nvidia-smi --query-gpu=driver_version --format=csv,noheader |
      head -1)" \
    --commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
}

stage build do_build
stage tests do_tests
stage company do_company
stage bench do_bench
echo "=== done ($SECONDS s), failed=$failed"
exit $failed
