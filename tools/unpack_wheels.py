"""Takes files out of the pinned wheels: what the tools that unpack one share.

Uses the standard library alone.
"""

import argparse
import pathlib
import sys
import zipfile


def unpack_wheels(place_of, needed, programs=()) -> pathlib.Path:
    """Does what the command line WHEELS_FOLDER TARGET_FOLDER asks for.

    place_of(name of a file in a wheel) is where it goes in the target folder,
    empty if it is not needed.  `needed` must be there at the end, or this
    program ends.  Wheels do not say which of their files are programs: those
    below the folders `programs`.  Returns the target folder.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("wheels", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    arguments = parser.parse_args()
    for wheel in sorted(arguments.wheels.glob("*.whl")):
        files = 0
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                place = place_of(member.filename)
                if not place or member.is_dir():
                    continue
                path = arguments.target / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(member))
                if place.startswith(tuple(programs)):
                    path.chmod(0o755)
                files += 1
        print(f"[setup] {wheel.name}: {files} files", flush=True)
    for name in needed:
        if not (arguments.target / name).exists():
            sys.exit(f"error: no {name} in the wheels of {arguments.wheels}")
    return arguments.target
