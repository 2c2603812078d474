"""How fast the simulator is: a million requests, on one core.

    third_party/python/bin/python bench/simulator_bench.py [--bin build/bin]
        [--requests 1000000] [--out FILE.json]

Runs `heatkv plan --simulate` for three loads and prints the processor time of
each.  The JSON holds the device, the versions, the commands and every figure.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from machine import machine  # noqa: E402

MIXED = ["--tiers", "0.05=1,0.1=2,0.2=1", "--aspects", "1:1=1,3:2=1,2:3=1"]
LOADS = {
    "latency at 95 %": [*MIXED, "--load", "0.95", "--policy", "latency"],
    "preview at 95 %": [*MIXED, "--load", "0.95", "--policy", "preview"],
    "preview, saturated, 2 GiB": [
        "--tiers", "0.1", "--pool", "2GiB", "--policy", "preview", "--saturate",
    ],
}


def cpu_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument(
        "--out", default=str(ROOT / "bench/results/simulator-cpu.json")
    )
    arguments = parser.parse_args()
    runs = []
    for name, flags in LOADS.items():
        command = [
            f"{arguments.bin}/heatkv", "plan", "--model", "infinity-2b",
            "--simulate", "--no_capacity", "--requests", str(arguments.requests),
            *flags,
        ]
        seconds = round(cpu_seconds(command), 2)
        runs.append({"load": name, "command": " ".join(command[1:]),
                     "cpu_seconds": seconds})
        print(f"{name:26} {seconds:6.2f} s", flush=True)
    report = {
        "benchmark": "simulator-cpu",
        **machine(),
        "requests": arguments.requests,
        "runs": runs,
    }
    pathlib.Path(arguments.out).write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
