"""Unpacks the headers of FlashInfer and of its CUTLASS from the pinned wheel.

    python3 tools/unpack_flashinfer.py WHEELS_FOLDER TARGET_FOLDER

TARGET_FOLDER receives flashinfer/include and cutlass/include, as
cmake/FlashInfer.cmake expects them, and the licence.
"""

from unpack_wheels import unpack_wheels

ROOT = "flashinfer/data/"
# Folder in the wheel, folder here.
PARTS = (
    ("include/", "flashinfer/include/"),
    ("cutlass/include/", "cutlass/include/"),
)
NEEDED = (
    "flashinfer/include/flashinfer/attention/hopper/prefill_sm90.cuh",
    "cutlass/include/cute/tensor.hpp",
)


def place_of(name: str) -> str:
    if ".dist-info/" in name and name.endswith("LICENSE"):
        return "flashinfer/LICENSE"
    for source, place in PARTS:
        if name.startswith(ROOT + source):
            return place + name.removeprefix(ROOT + source)
    return ""


if __name__ == "__main__":
    unpack_wheels(place_of, NEEDED)
