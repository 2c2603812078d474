"""Makes a folder laid out like a CUDA toolkit out of the pinned wheels.

    python3 tools/unpack_cuda_compiler.py WHEELS_FOLDER TARGET_FOLDER

TARGET_FOLDER receives bin/nvcc and what it starts, its headers, libdevice and
the CUDA runtime: enough to compile and link for any GPU.
"""

from unpack_wheels import unpack_wheels

ROOT = "nvidia/cu13/"
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


def place_of(name: str) -> str:
    place = name.removeprefix(ROOT)
    return "" if place == name or place.startswith(LEFT_OUT) else place


def main() -> None:
    target = unpack_wheels(place_of, ["bin/nvcc"], PROGRAM_FOLDERS)
    # Linkers look for the name without a version, nvcc and CMake in lib64, too.
    for library in sorted((target / "lib").glob("*.so.*")):
        link = library.with_name(library.name.split(".so.")[0] + ".so")
        if not link.exists():
            link.symlink_to(library.name)
    (target / "lib64").symlink_to("lib")


if __name__ == "__main__":
    main()
