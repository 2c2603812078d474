"""Checks the form of the sources that no compiler looks at.

    python3 tests/check_sources.py

Headers open with prose and have the include guard of their path; no C++ or
Python file is over 500 lines; no name from the list of words that say nothing
is used for a file; unfinished work is not left behind.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 500
EMPTY_WORDS = r"(^|_)(manager|util|utils|helper|helpers|common|misc|handler)(_|\.|$)"
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")


def tracked():
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def check(path: pathlib.Path):
    name = path.relative_to(ROOT).as_posix()
    if re.search(EMPTY_WORDS, path.name):
        yield f"{name}: the file's name says nothing about what is in it"
    if path.suffix not in (".h", ".cc", ".cu", ".cuh", ".py", ".proto", ".sh"):
        return
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    if path.suffix in (".h", ".cc", ".cu", ".py") and len(lines) > MAX_LINES:
        yield f"{name}: {len(lines)} lines, more than {MAX_LINES}"
    for number, line in enumerate(lines, 1):
        if UNFINISHED.search(line):
            yield f"{name}:{number}: unfinished work: {line.strip()[:80]}"
    if path.suffix == ".h":
        if not text.startswith("// "):
            yield f"{name}: a header opens with prose"
        guard = re.sub(r"[/.]", "_", name).upper() + "_"
        if f"#ifndef {guard}\n" not in text:
            yield f"{name}: include guard must be {guard}"


def main():
    files = tracked()
    found = [line for path in files for line in check(path)]
    for line in found:
        print(line)
    if found:
        sys.exit(f"{len(found)} complaints")
    print(f"{len(files)} files are in form")


if __name__ == "__main__":
    main()
