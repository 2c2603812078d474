"""Unpacks the headers of FlashInfer and of its CUTLASS from the pinned wheel.

    python3 tools/unpack_flashinfer.py WHEELS_FOLDER TARGET_FOLDER

TARGET_FOLDER receives flashinfer/include and cutlass/include, as
cmake/FlashInfer.cmake expects them, and both licences.  Uses the standard
library alone.
"""

import argparse
import pathlib
import sys
import zipfile

ROOT = "flashinfer/data/"
# Folder in the wheel, folder here.
PARTS = (
    ("include/", "flashinfer/include/"),
    ("cutlass/include/", "cutlass/include/"),
)


def place_of(name: str) -> str:
    """Where a file of the wheel goes; empty if it is not needed."""
    if ".dist-info/" in name and name.endswith("LICENSE"):
        return "flashinfer/LICENSE"
    if not name.startswith(ROOT):
        return ""
    for source, place in PARTS:
        if name.startswith(ROOT + source):
            return place + name.removeprefix(ROOT + source)
    return ""


def unpack(wheel: pathlib.Path, target: pathlib.Path) -> int:
    files = 0
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            place = place_of(member.filename)
            if not place or member.is_dir():
                continue
            path = target / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))
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
    for header in (
        "flashinfer/include/flashinfer/attention/hopper/prefill_sm90.cuh",
        "cutlass/include/cute/tensor.hpp",
    ):
        if not (target / header).exists():
            print(f"error: no {header} in the wheels of {wheels}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
