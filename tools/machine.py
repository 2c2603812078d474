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


def driver() -> str | None:
    """Of NVIDIA's GPUs; nothing where there is none."""
    try:
        out = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return None
    lines = out.stdout.split()
    return lines[0] if out.returncode == 0 and lines else None


def torch_machine(device: str, commit: str) -> dict:
    """Of a measurement with torch on "cpu" or "cuda"."""
    import torch

    gpu = device != "cpu"
    version = driver() if gpu else None
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        **({"driver": version} if version else {}),
        "torch": torch.__version__,
        "commit": commit,
    }
