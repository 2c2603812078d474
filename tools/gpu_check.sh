#!/bin/bash
# The full check on a machine with an NVIDIA GPU: the tests labelled gpu, images
# alone and in company, the benchmark, a server as its users see it, parity with
# the authors' code at full size, and the largest model.
#
#   tools/gpu_check.sh [OPTION...] [STAGE...]
#
# --programs FILE  use the programs that tools/pack_programs.sh packed (the
#                  archive, or a folder it was unpacked into) instead of building
# --debs DIR       to build: Debian packages (*.deb) to take missing headers and
#                  libraries from; they are copied under /usr where nothing is yet
# --models DIR     folder with the embedded model `default` (default: models)
# --out DIR        folder for results (default: out/gpu)
# --work DIR       scratch, 15 GB for parity at full size (default: a temporary one)
# --infinity DIR   checkout of FoundationVision/Infinity, for the stages parity
#                  and references
# --heatkv DIR     checkout of arm-research/heatkv, likewise
# --budgets LIST   of the cache, for parity (default: 1,0.1,0.04, or 1)
# --profile        with bench: the table of kernels, too
# STAGE            build tests company bench attention references server parity
#                  8b; if none is named all that the options allow for
#
# references times the authors' code beside ours.
#
# Results in --out: bench-gpu.json, bench-attention.json, bench-gpu-8b.json,
# parity.json, server.json, server.log, picture.png and what the stages printed.
set -u
cd "$(dirname "$0")/.."
models=models
programs=
debs=
out=out/gpu
work=
infinity=
heatkv=
budgets=
profile=()
stages=()
while [ $# -gt 0 ]; do
  case $1 in
    --models) models=$(realpath "$2"); shift 2 ;;
    --programs) programs=$(realpath "$2"); shift 2 ;;
    --debs) debs=$(realpath "$2"); shift 2 ;;
    --out) out=$2; shift 2 ;;
    --work) work=$2; shift 2 ;;
    --infinity) infinity=$(realpath "$2"); shift 2 ;;
    --heatkv) heatkv=$(realpath "$2"); shift 2 ;;
    --budgets) budgets=$2; shift 2 ;;
    --profile) profile=(yes); shift ;;
    -*) echo "gpu_check.sh: unexpected argument '$1'" >&2; exit 2 ;;
    *) stages+=("$1"); shift ;;
  esac
done
if [ ${#stages[@]} -eq 0 ]; then
  [ -n "$programs" ] || stages+=(build)
  stages+=(tests company bench attention)
  # Built without the services, there is no server.
  [ -z "$programs" ] || stages+=(server)
  [ -z "$infinity" ] || stages+=(references parity)
  stages+=(8b)
fi
for stage in "${stages[@]}"; do
  case $stage in
    build | tests | company | bench | attention | references | server | \
      parity | 8b) ;;
    *) echo "gpu_check.sh: no stage '$stage'" >&2; exit 2 ;;
  esac
done
mkdir -p "$out"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Weights of 4.6 GB are better kept in memory than written to a disk.
shared=$(df --output=avail -k /dev/shm 2> /dev/null | tail -1)
if [ -z "$work" ] && [ "${shared:-0}" -gt 16000000 ]; then
  work=$(mktemp -d -p /dev/shm)
  trap 'rm -rf "$scratch" "$work"' EXIT
fi
work=${work:-$scratch/work}
build=${HEATKV_GPU_BUILD:-build/gpu}
export PATH=$PATH:/usr/local/cuda/bin
site=$(python3 -c 'import importlib.util as u, pathlib
print(pathlib.Path(u.find_spec("torch").origin).parent.parent)') || exit 1
libraries=$site/torch/lib
for folder in "$site"/nvidia/*/lib /usr/local/cuda/lib64; do
  libraries=$libraries:$folder
done
# Torch brings the shared C++ library in, so the compiler must be one that has
# it, too: a program with two of them frees what is not its own.
export CXX=/usr/bin/g++ CC=/usr/bin/gcc CUDAHOSTCXX=/usr/bin/g++
commit=$(git rev-parse --short HEAD 2> /dev/null || echo unknown)
failed=0

# Our programs by their names, each with the libraries that it needs and that
# nobody else shall see.
run=$scratch/run
mkdir "$run"
wrap() {
  local path=$1 more=$2
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s:$LD_LIBRARY_PATH exec %s "$@"\n' \
    "$more$libraries" "$path" > "$run/${path##*/}"
  chmod +x "$run/${path##*/}"
}
if [ -n "$programs" ]; then
  if [ -f "$programs" ]; then
    mkdir "$scratch/programs"
    tar -C "$scratch/programs" -xzf "$programs" || exit 1
    programs=$scratch/programs
  fi
  [ -f "$programs/commit" ] && commit=$(cat "$programs/commit")
  for program in "$programs"/bin/*; do wrap "$program" "$programs/lib:"; done
else
  for program in bin/heatkv_{server,parity,company_check} bin/heatkv \
    bin/heatkv_bench_{gpu,attention} tests/model_gpu_test; do
    wrap "$PWD/$build/$program" ""
  done
fi

stage() {
  local name=$1 begin=$SECONDS
  shift
  [[ " ${stages[*]} " == *" $name "* ]] || return 0
  echo "=== $name (at $SECONDS s)"
  if "$@"; then
    echo "=== $name passed in $((SECONDS - begin)) s"
  else
    echo "=== $name FAILED after $((SECONDS - begin)) s"
    failed=1
  fi
}

do_build() {
  if [ -n "$debs" ]; then
    for package in "$debs"/*.deb; do dpkg -x "$package" "$scratch/debs"; done
    cp -an "$scratch"/debs/usr/. /usr/
    ldconfig
  fi
  cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release \
    -DHEATKV_CUDA=ON -DHEATKV_SERVICES=OFF -DHEATKV_WERROR=OFF \
    -DHEATKV_LIBTORCH_DIR="$site" \
    -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined \
    -DCMAKE_CUDA_ARCHITECTURES="${HEATKV_GPU_ARCHITECTURES:-90-real}" \
    > "$out/configure.log" 2>&1 || { tail -30 "$out/configure.log"; return 1; }
  ninja -C "$build" -k 0 heatkv_model model_gpu_test heatkv_company_check \
    heatkv_bench_gpu heatkv_bench_attention heatkv_parity \
    > "$out/build.log" 2>&1 && return
  grep -E "error|undefined reference|FAILED" "$out/build.log" | head -60
  return 1
}

do_tests() { "$run/model_gpu_test" --gtest_brief=1; }

do_company() {
  "$run/heatkv_company_check" --model "$models/default" --device cuda \
    --images 12
}

# Arguments: model, file, more flags.
bench() {
  local model=$1 file=$2
  shift 2
  "$run/heatkv_bench_gpu" --model "models/$model" \
    --tokenizer "$models/default" --output "$out/$file" \
    --driver "$(nvidia-smi --query-gpu=driver_version --format=csv,noheader |
      head -1)" \
    --commit "$commit" "$@"
}

do_bench() {
  bench infinity-2b bench-gpu.json \
    ${profile:+--profile "$out/kernels.json"}
}

do_attention() {
  "$run/heatkv_bench_attention" --model models/infinity-2b \
    --output "$out/bench-attention.json"
}

do_8b() { bench infinity-8b bench-gpu-8b.json --most_images 4 --repeats 3; }

do_server() {
  python3 tools/server_check.py --bin "$run" --out "$out" --model infinity-2b \
    --random_weights 1 --tokenizer "$models/default" --device cuda \
    --pool "3 GiB" --pixel_classes 1M
}

do_references() {
  local file=$out/bench-gpu.json
  [ -f "$file" ] || file=$out/references.json
  python3 tools/time_reference.py ${infinity:+--infinity "$infinity"} \
    ${heatkv:+--heatkv "$heatkv"} --size 2b --ours "$file"
}

do_parity() {
  [ -n "$infinity" ] || { echo "parity needs --infinity DIR" >&2; return 1; }
  local memory
  memory=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits |
    head -1)
  python3 tools/full_size_parity.py --infinity "$infinity" \
    ${heatkv:+--heatkv "$heatkv"} --parity "$run/heatkv_parity" \
    ${budgets:+--budgets "$budgets"} \
    $([ "${memory:-0}" -gt 78000 ] && echo --at_once) \
    --device cuda --size 2b --work "$work" --json "$out/parity.json" \
    --commit "$commit"
}

stage build do_build
stage tests do_tests
stage company do_company
stage bench do_bench
stage attention do_attention
stage references do_references
stage server do_server
stage parity do_parity
stage 8b do_8b
echo "=== done in $SECONDS s, failed=$failed"
exit $failed
