#!/usr/bin/env python3
"""The path of a user on this machine's device: starts heatkv_server, asks it for
pictures over gRPC through the `heatkv` client, and stops it.

    tools/server_check.py --bin build/bin --out out/server \\
        --model infinity-2b --random_weights 1 --tokenizer models/default \\
        --device cuda --pool "3 GiB"

One picture with previews, the same one in the company of others (the bytes must
be equal), then a load of one request after the other and one of several in
flight.  Writes into --out server.json (all figures), server.log and picture.png.
Exits with 1, saying why, if anything is not as it must be.  Needs nothing but
Python; health is asked for where grpcio is installed.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

from local_server import LocalServer

PROMPT = ("a red fox and two small birds in front of a lighthouse at sea, a boat "
          "far away, evening light, calm water, picture number ")
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


def fail(message):
    sys.exit(f"server_check: error: {message}")


def health(address):
    """What grpc.health.v1 answers; None where there is no grpcio."""
    try:
        import grpc
    except ImportError:
        return None
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = check(b"", timeout=10)
    if answer != SERVING:
        fail(f"the server's health is {answer!r}, not SERVING")
    return "SERVING"


def read_metrics(url):
    """All samples but those of single heads and buckets."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    samples = {}
    for line in text.splitlines():
        if not re.match(r"#|heatkv_cache_bytes|\S*_bucket\{", line):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    return samples


class Client:
    def __init__(self, program, address, scratch):
        self._program, self._address, self._scratch = program, address, scratch

    def run(self, *arguments):
        begin = time.monotonic()
        done = subprocess.run(
            [self._program, "--server", self._address, *map(str, arguments)],
            capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"heatkv {arguments[0]}: {done.stderr.strip()[-2000:]}")
        return done.stdout, time.monotonic() - begin

    def generate(self, file, number, *flags):
        text, seconds = self.run(
            "generate", PROMPT + str(number), "--seed", number, "--out", file,
            "--json", "--quiet", *flags)
        answer = json.loads(text)
        return {"client_seconds": seconds, "usage": answer["usage"],
                "sha256": digest(file)}

    def together(self, numbers):
        """Digests of pictures whose requests are in flight at once."""
        items, out = self._scratch / "batch", self._scratch / "pictures"
        items.write_text("".join(
            json.dumps({"id": str(i), "prompt": PROMPT + str(i), "seed": i}) + "\n"
            for i in numbers))
        _, seconds = self.run("generate", "--batch", items, "--out_dir", out,
                              "--parallel", len(numbers), "--quiet")
        return {"client_seconds": seconds,
                "sha256": [digest(out / f"{i}.png") for i in numbers]}

    def load(self, concurrency, requests, preview_share=0):
        out = self._scratch / "load.json"
        self.run("bench", "--concurrency", concurrency, "--requests", requests,
                 "--preview_share", preview_share, "--json", out, "--quiet")
        summary = json.loads(out.read_text())["result"]
        summary["seconds_per_image"] = summary["wall_seconds"] / summary["images"]
        if summary["completed"] != requests:
            fail(f"{summary['completed']} of {requests} requests completed with "
                 f"{concurrency} in flight")
        return summary


def digest(file):
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()


def configuration(flags):
    lines = [
        # Noise is the worst that can happen to an encoder.
        f"encoder_threads: {max(2, min(8, (os.cpu_count() or 2) // 2))}",
        "cache:",
        f"  pool: {flags.pool}",
        "scheduling:",
        f"  max_running_images: {flags.images}",
    ]
    if flags.pixel_classes:
        lines.append(f'pixel_classes: "{flags.pixel_classes}"')
    return "\n".join(lines) + "\n"


def check(flags, client, server):
    result = {}
    result["health"] = health(server.address)
    picture = flags.out / "picture.png"
    # The first request of all, with previews; then alone once more.
    result["first"] = client.generate(picture, 1, "--previews")
    for preview in flags.out.glob("picture.scale-*"):
        result["previews"] = result.get("previews", 0) + 1
        preview.unlink()
    if "previews" not in result:
        fail("the first picture came without previews")
    result["alone"] = client.generate(picture, 1)
    result["together"] = client.together(range(1, flags.images + 1))
    digests = [result["first"]["sha256"], result["alone"]["sha256"],
               result["together"]["sha256"][0]]
    result["identical_bytes"] = len(set(digests)) == 1
    result["one_after_the_other"] = client.load(1, flags.requests)
    result["with_previews"] = client.load(1, flags.requests, preview_share=1)
    result["in_flight"] = client.load(flags.images, 3 * flags.images)
    result["metrics"] = read_metrics(server.metrics_url)
    result["health_afterwards"] = health(server.address)
    return result


def describe(result, flags):
    usage = result["alone"]["usage"]
    print(f"ready after {result['ready_seconds']:.1f} s, stopped in "
          f"{result['stop_seconds']:.1f} s, health {result['health']}")
    print("one picture: " + ", ".join(
        f"{name[:-8]} {usage[name] * 1e3:.1f} ms" for name in usage
        if name.endswith("_seconds")))
    for name, what in (("one_after_the_other", "1 in flight"),
                       ("with_previews", "1 in flight, previews of all scales"),
                       ("in_flight", f"{flags.images} in flight")):
        load = result[name]
        print(f"{what}: {load['seconds_per_image']:.4f} s an image, "
              f"{load['images'] / load['wall_seconds']:.2f} images/s, latency p50 "
              f"{load['latency_seconds']['p50']:.4f} s, first picture p50 "
              f"{load['first_picture_seconds']['p50']:.4f} s")
    print("identical bytes alone and in company: "
          f"{'yes' if result['identical_bytes'] else 'NO'}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--random_weights", help="seed")
    parser.add_argument("--tokenizer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pool", default="256 MiB")
    parser.add_argument("--pixel_classes", help="sizes that are offered")
    parser.add_argument("--images", type=int, default=8, help="in flight")
    parser.add_argument("--requests", type=int, default=5, help="one by one")
    parser.add_argument("--start_seconds", type=float, default=120)
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "server.yaml").write_text(configuration(flags))
        arguments = [f"--config={scratch / 'server.yaml'}",
                     f"--model={flags.model}", f"--device={flags.device}"]
        if flags.random_weights:
            arguments.append(f"--random-weights={flags.random_weights}")
        if flags.tokenizer:
            arguments.append(f"--tokenizer={flags.tokenizer}")
        begin = time.monotonic()
        with LocalServer(flags.bin, arguments, flags.start_seconds,
                         log=flags.out / "server.log") as server:
            ready = time.monotonic() - begin
            client = Client(flags.bin / "heatkv", server.address, scratch)
            result = check(flags, client, server)
            stop = time.monotonic()
        result["ready_seconds"] = ready
        result["stop_seconds"] = time.monotonic() - stop
    (flags.out / "server.json").write_text(json.dumps(result, indent=1) + "\n")
    describe(result, flags)
    if not result["identical_bytes"]:
        fail("the same request gave other bytes in company than alone")


if __name__ == "__main__":
    main()
