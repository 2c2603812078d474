"""Unpacks from the pinned wheels what C++ on this machine needs of LibTorch.

    python3 tools/unpack_libtorch.py [--cuda] WHEELS_FOLDER TARGET_FOLDER

TARGET_FOLDER receives torch/{include,lib} and nvidia/*/lib.  The libraries for
NVIDIA GPUs inside the torch wheel (half a gigabyte) are unpacked only with
--cuda.  What a linker reads of them (5 MB, link_copy.py) goes to
torch/link-only in any case.  Uses the standard library alone.
"""

import argparse
import pathlib
import sys
import zipfile

from link_copy import write_link_copy

CPU_LIBRARIES = ("libtorch_cpu.so", "libc10.so", "libgomp.so")
GPU_LIBRARIES = (
    "libtorch_cuda.so",
    "libtorch_cuda_linalg.so",
    "libc10_cuda.so",
    "libcaffe2_nvrtc.so",
    "libtorch_nvshmem.so",
    "libtorch.so",
)
# Those that our own code calls.
LINKED_GPU_LIBRARIES = ("libtorch_cuda.so", "libc10_cuda.so")


def wanted(name: str, libraries: tuple) -> bool:
    if name.startswith("torch/include/"):
        return True
    if name.startswith("torch/lib/"):
        return name.removeprefix("torch/lib/").startswith(libraries)
    return name.startswith("nvidia/") and ".so" in name


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("wheels", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    arguments = parser.parse_args()
    wheels, target = arguments.wheels, arguments.target
    libraries = CPU_LIBRARIES + (GPU_LIBRARIES if arguments.cuda else ())
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            members = [
                name for name in archive.namelist() if wanted(name, libraries)
            ]
            archive.extractall(target, members)
            for library in LINKED_GPU_LIBRARIES:
                name = f"torch/lib/{library}"
                if name in archive.namelist():
                    write_link_copy(
                        archive.read(name), target / "torch/link-only" / library
                    )
        print(f"[setup] {wheel.name}: {len(members)} files", flush=True)
    if not (target / "torch/lib/libtorch_cpu.so").exists():
        print(f"error: no torch wheel in {wheels}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
