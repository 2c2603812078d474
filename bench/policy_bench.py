"""What the scheduling policies do to waiting, measured on a real server.

    third_party/python/bin/python bench/policy_bench.py [--requests 80]
        [--loads 0.6,0.9] [--bin build/bin] [--model models/default]
        [--out FILE.json]

For each policy a server of its own, and for each load the same Poisson arrivals
of the same requests (previews after every scale) through `heatkv bench`.  A
load is a share of what the server makes when four requests are always there.
Prints a table; the JSON holds the device, the versions and every figure.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from local_server import LocalServer  # noqa: E402
from machine import machine  # noqa: E402

POLICIES = ["latency", "preview"]
KEPT = ["first_preview_seconds", "first_picture_seconds", "latency_seconds"]


def load(arguments, server, *flags):
    """The figures of one load without failures."""
    out = subprocess.run(
        [
            f"{arguments.bin}/heatkv",
            "bench",
            f"--server={server.address}",
            "--preview_share=1",
            "--seed=7",
            "--json=-",
            "--quiet",
            *flags,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    result = json.loads(out.stdout)["result"]
    if result["completed"] != result["requests"]:
        sys.exit(f"{result['completed']} of {result['requests']} completed")
    return result


def serve(arguments, policy):
    config = pathlib.Path(arguments.folder) / f"{policy}.yaml"
    config.write_text(
        f"scheduling: {{policy: {policy}}}\n"
        "limits: {max_queued_requests: 1000, max_request_time: 30 min}\n"
    )
    return LocalServer(
        arguments.bin, [f"--config={config}", f"--model={arguments.model}"]
    )


def measure(arguments):
    most = None
    runs = []
    for policy in POLICIES:
        with serve(arguments, policy) as server:
            warm = load(arguments, server, "--requests=12", "--concurrency=4")
            # One measure of what is much for all policies.
            most = most or warm["images_per_second"]
            for share in arguments.loads:
                result = load(
                    arguments, server, f"--requests={arguments.requests}",
                    f"--rate={share * most:.4f}",
                )
                run = {"policy": policy, "load": share}
                run["requests_per_second"] = round(share * most, 4)
                run["images_per_second"] = result["images_per_second"]
                for name in KEPT:
                    run[name] = result[name]
                runs.append(run)
                first, image = run["first_preview_seconds"], run["latency_seconds"]
                print(
                    f"{policy:8} at {100 * share:3.0f} %: first preview "
                    f"{first['p50']:.2f} / {first['p95']:.2f} s, image "
                    f"{image['p50']:.2f} / {image['p95']:.2f} s (p50 / p95)",
                    flush=True,
                )
    return most, runs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=str(ROOT / "build/bin"))
    parser.add_argument("--model", default=str(ROOT / "models/default"))
    parser.add_argument("--requests", type=int, default=80)
    parser.add_argument("--loads", default="0.6,0.9")
    parser.add_argument("--out", default=str(ROOT / "bench/results/policy-cpu.json"))
    arguments = parser.parse_args()
    arguments.loads = [float(share) for share in arguments.loads.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = folder
        most, runs = measure(arguments)
    report = {
        "benchmark": "policy-cpu",
        **machine(),
        "model": pathlib.Path(arguments.model).name,
        "requests": arguments.requests,
        "seed": 7,
        "images_per_second_at_most": most,
        "runs": runs,
    }
    pathlib.Path(arguments.out).write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
