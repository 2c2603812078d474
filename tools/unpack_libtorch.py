"""Unpacks from the pinned wheels what C++ on this machine needs of LibTorch.

    python3 tools/unpack_libtorch.py WHEELS_FOLDER TARGET_FOLDER

TARGET_FOLDER receives torch/{include,lib} and nvidia/cu13/lib.  The libraries
for NVIDIA GPUs inside the torch wheel (half a gigabyte) are unpacked only if
this machine has such a GPU.  Uses the standard library alone.
"""

import os
import pathlib
import sys
import zipfile

CPU_LIBRARIES = ("libtorch_cpu.so", "libc10.so", "libgomp.so")
GPU_LIBRARIES = (
    "libtorch_cuda.so",
    "libtorch_cuda_linalg.so",
    "libc10_cuda.so",
    "libcaffe2_nvrtc.so",
    "libtorch_nvshmem.so",
    "libtorch.so",
)


def has_nvidia_gpu() -> bool:
    return os.path.exists("/dev/nvidiactl")


def wanted(name: str, libraries: tuple) -> bool:
    if name.startswith("torch/include/"):
        return True
    if name.startswith("torch/lib/"):
        return name.removeprefix("torch/lib/").startswith(libraries)
    return name.startswith("nvidia/") and ".so" in name


def main() -> int:
    wheels, target = map(pathlib.Path, sys.argv[1:3])
    libraries = CPU_LIBRARIES + (GPU_LIBRARIES if has_nvidia_gpu() else ())
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            members = [
                name for name in archive.namelist() if wanted(name, libraries)
            ]
            archive.extractall(target, members)
        print(f"[setup] {wheel.name}: {len(members)} files", flush=True)
    if not (target / "torch/lib/libtorch_cpu.so").exists():
        print(f"error: no torch wheel in {wheels}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
