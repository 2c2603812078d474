"""Makes a folder laid out like a CUDA toolkit out of the pinned wheels.

    python3 tools/unpack_cuda_compiler.py WHEELS_FOLDER TARGET_FOLDER

TARGET_FOLDER receives bin/nvcc and what it starts, its headers, libdevice and
the CUDA runtime: enough to compile and link for any GPU.  Uses the standard
library alone.
"""

import argparse
import pathlib
import sys
import zipfile

ROOT = "nvidia/cu13/"
# Wheels do not say which of their files are programs.
PROGRAM_FOLDERS = ("bin/", "nvvm/bin/")
# Not needed to compile (libnvvm is a compiler for programs that bring their own
# front; nvcc starts cicc).
LEFT_OUT = (
    "bin/bin2c",
    "bin/__nvcc_device_query",
    "lib/cmake/",
    "lib/libnvvm.so",
    ".metadata/",
)


def unpack(wheel: pathlib.Path, target: pathlib.Path) -> int:
    files = 0
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = member.filename.removeprefix(ROOT)
            if name == member.filename or member.is_dir():
                continue
            if name.startswith(LEFT_OUT):
                continue
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))
            if name.startswith(PROGRAM_FOLDERS):
                path.chmod(0o755)
            files += 1
    return files


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("wheels", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    arguments = parser.parse_args()
    wheels, target = arguments.wheels, arguments.target
    for wheel in sorted(wheels.glob("*.whl")):
        print(f"[setup] {wheel.name}: {unpack(wheel, target)} files", flush=True)
    if not (target / "bin/nvcc").exists():
        print(f"error: no nvcc in the wheels of {wheels}", file=sys.stderr)
        return 1
    # Linkers look for the name without a version, nvcc and CMake in lib64, too.
    for library in sorted((target / "lib").glob("*.so.*")):
        link = library.with_name(library.name.split(".so.")[0] + ".so")
        if not link.exists():
            link.symlink_to(library.name)
    (target / "lib64").symlink_to("lib")
    return 0


if __name__ == "__main__":
    sys.exit(main())
