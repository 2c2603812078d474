#!/usr/bin/env bash
# Builds the programs for NVIDIA GPUs and packs them with the libraries they
# need, for machines that have a GPU, a driver and a Python with the pinned torch,
# and neither this project's packages nor its sources:
#
#   tools/pack_programs.sh [--build DIR] [--libtorch DIR] [--architectures LIST]
#                          [--jobs N] [OUT]
#
# --build          build folder (default: build/pack)
# --libtorch       as HEATKV_LIBTORCH_DIR (default: what the preset says)
# --architectures  as CMAKE_CUDA_ARCHITECTURES (default: those of the project)
# OUT              the archive (default: out/heatkv-gpu.tar.gz)
#
# It needs no GPU (preset cuda-compile).  The archive has bin/, lib/ and
# `commit`, of the sources; lib/ holds all shared libraries but torch's, CUDA's
# and the C and C++ run time.  tools/gpu_check.sh --programs OUT runs what is
# inside.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/pack
jobs=$(nproc)
configure=()
out=out/heatkv-gpu.tar.gz
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift 2 ;;
    --libtorch) configure+=("-DHEATKV_LIBTORCH_DIR=$2"); shift 2 ;;
    --architectures) configure+=("-DCMAKE_CUDA_ARCHITECTURES=$2"); shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    -*) echo "pack_programs.sh: unexpected argument '$1'" >&2; exit 2 ;;
    *) out=$1; shift ;;
  esac
done
readonly PROGRAMS=(bin/heatkv_server bin/heatkv bin/heatkv_parity
  bin/heatkv_bench_gpu bin/heatkv_bench_attention bin/heatkv_company_check
  tests/model_gpu_test)
# What the other machine has: the C and C++ run time, torch and CUDA.
readonly THEIRS='^(ld-linux|linux-vdso|lib(c|m|dl|rt|util|pthread|stdc\+\+|gcc_s|gomp|torch.*|c10.*|cuda.*|cu[a-z]+|nv.*|nccl))[.-]'

export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
cmake --preset cuda-compile -B "$build" "${configure[@]}" > /dev/null
cmake --build "$build" --parallel "$jobs" --target "${PROGRAMS[@]##*/}" \
  > "$build/pack.log" 2>&1 || { tail -n 40 "$build/pack.log" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/lib"
for program in "${PROGRAMS[@]}"; do
  strip -o "$work/bin/${program##*/}" "$build/$program"
  # Libraries of libraries, too, wherever the loader finds them here; torch's
  # GPU half may be missing here, and is not ours to bring.
  ldd "$build/$program" | awk '$2 == "=>" { print $1, $3 }' |
    while read -r name path; do
      [[ $name =~ $THEIRS ]] && continue
      [ -f "$path" ] || { echo "no $name for $program" >&2; exit 1; }
      [ -e "$work/lib/$name" ] ||
        cp -L --no-preserve=mode "$path" "$work/lib/$name"
    done
done
mkdir -p "$(dirname "$out")"
git rev-parse --short HEAD > "$work/commit" 2> /dev/null || rm -f "$work/commit"
tar -C "$work" -cf - $(ls "$work") | gzip -9 > "$out.partial"
mv "$out.partial" "$out"
echo "$out: $(du -k "$out" | cut -f 1) KB of programs and libraries," \
  "$(du -sk "$work" | cut -f 1) KB unpacked"
