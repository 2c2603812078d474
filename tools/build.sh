#!/usr/bin/env bash
# Configures (once) and builds one preset, or one target of it:
#   tools/build.sh PRESET [JOBS [TARGET]]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
jobs=${2:-$(nproc)}
# Headers that are precompiled carry time stamps that ccache must overlook.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}

# A second checkout of the same sources finds what the first one compiled.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

build_dir=build/$preset
stamp=$build_dir/.configured
wanted=$(cat CMakePresets.json | sha256sum)
if [ ! -f "$build_dir/build.ninja" ] || [ "$(cat "$stamp" 2> /dev/null)" != "$wanted" ]; then
  echo "[build] configuring $preset"
  cmake --preset "$preset" > "build-$preset.log" 2>&1 || {
    cat "build-$preset.log" >&2
    rm -f "build-$preset.log"
    exit 1
  }
  rm -f "build-$preset.log"
  echo "$wanted" > "$stamp"
fi
cmake --build "$build_dir" --parallel "$jobs" --target "${3:-all}"
