"""Seconds and cache bytes of one picture of the embedded model on this CPU.

    third_party/python/bin/python bench/picture_bench.py [--pictures 12]
        [--bin build/bin] [--model models/default] [--out FILE.json]

Starts a server of its own, asks for the pictures one after the other (and then
several at once) through the command-line client, for each tier, and prints a
table.  The JSON holds the device, the versions and every figure.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from local_server import LocalServer  # noqa: E402
from machine import machine  # noqa: E402
PROMPTS = [
    "a red apple on a blue background",
    "three cats on a green background",
    "an owl to the left of a guitar",
    "a purple fire engine",
    "a rocket on a black background",
    "two houses on a yellow background",
]


def run_batch(arguments, server, tier, pictures, parallel, first_seed):
    with tempfile.TemporaryDirectory() as folder:
        batch = pathlib.Path(folder) / "batch.jsonl"
        batch.write_text(
            "".join(
                json.dumps(
                    {
                        "id": f"{i:04}",
                        "prompt": PROMPTS[i % len(PROMPTS)],
                        "seed": first_seed + i,
                        "tier": tier,
                    }
                )
                + "\n"
                for i in range(pictures)
            )
        )
        begin = time.monotonic()
        out = subprocess.run(
            [
                f"{arguments.bin}/heatkv",
                "--server",
                server.address,
                "generate",
                "--batch",
                str(batch),
                "--out_dir",
                f"{folder}/out",
                "--parallel",
                str(parallel),
                "--json",
                "--quiet",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        took = time.monotonic() - begin
    decoder, rows, text = json.JSONDecoder(), [], out.stdout.strip()
    while text:
        row, end = decoder.raw_decode(text)
        rows.append(row["usage"])
        text = text[end:].strip()
    if len(rows) != pictures:
        sys.exit(f"{len(rows)} of {pictures} pictures came back")
    return took, rows


def median(rows, key):
    return round(statistics.median(row[key] for row in rows), 4)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=str(ROOT / "build/bin"))
    parser.add_argument("--model", default=str(ROOT / "models/default"))
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--out", default=str(ROOT / "bench/results/picture-cpu.json"))
    arguments = parser.parse_args()

    server_arguments = [f"--model={arguments.model}"]
    if arguments.threads:
        server_arguments.append(f"--threads={arguments.threads}")
    tiers = {}
    with LocalServer(arguments.bin, server_arguments) as server:
        capabilities = json.loads(
            subprocess.run(
                [
                    f"{arguments.bin}/heatkv",
                    "--server",
                    server.address,
                    "capabilities",
                    "--json",
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for tier in [t["name"] for t in capabilities["tiers"]]:
            run_batch(arguments, server, tier, 2, 1, 1)  # warm-up
            _, rows = run_batch(arguments, server, tier, arguments.pictures, 1, 100)
            together, _ = run_batch(
                arguments, server, tier, arguments.pictures, 4, 200
            )
            tiers[tier] = {
                "seconds_per_picture": median(rows, "total_seconds"),
                "slowest_seconds": max(row["total_seconds"] for row in rows),
                "text_seconds": median(rows, "text_seconds"),
                "scales_seconds": median(rows, "scales_seconds"),
                "decode_seconds": median(rows, "decode_seconds"),
                "encode_seconds": median(rows, "encode_seconds"),
                "seconds_per_picture_4_in_flight": round(
                    together / arguments.pictures, 4
                ),
                "peak_cache_bytes": max(row["peak_cache_bytes"] for row in rows),
                "full_cache_bytes": rows[0]["full_cache_bytes"],
            }
            print(
                f"{tier:10} {tiers[tier]['seconds_per_picture']:.3f} s a picture"
                f" (scales {tiers[tier]['scales_seconds']:.3f},"
                f" decode {tiers[tier]['decode_seconds']:.3f}),"
                f" {tiers[tier]['peak_cache_bytes']} bytes of cache at peak of"
                f" {tiers[tier]['full_cache_bytes']}",
                flush=True,
            )
        peak = server.peak_resident_bytes()

    report = {
        "benchmark": "picture-cpu",
        **machine(),
        "model": pathlib.Path(arguments.model).name,
        "pictures": arguments.pictures,
        "server_peak_resident_bytes": peak,
        "tiers": tiers,
    }
    pathlib.Path(arguments.out).write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
