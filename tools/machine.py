"""What a benchmark says about where and of what it was run."""

import datetime
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cpu_name() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def commit() -> str:
    out = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return out.stdout.strip()


def libtorch() -> str:
    for line in (ROOT / "tools/libtorch.txt").read_text().splitlines():
        if line.startswith("torch=="):
            return line.split()[0].split("==")[1]
    raise RuntimeError("tools/libtorch.txt names no torch")


def machine() -> dict:
    return {
        "device": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "libtorch": libtorch(),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }
