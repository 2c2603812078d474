"""Holds the server to its promises under load, through real gRPC.

    third_party/python/bin/python tools/load_check.py --bin build/bin

Starts a server whose pools hold about six images that prune nothing, and sends
it the same seeded list of mixed requests twice: one by one, and all at once
while some clients cancel and some read slowly.  Then counts

    lost        requests that nobody cancelled and that did not complete
    wrong       images whose bytes differ from those made one by one, also of
                requests that were cancelled later
    leaked      bytes of the pool still in use at the end, and requests that the
                server still believes in
    plan_error  the most bytes that the pool was off the plan, at any time

The last line has these four numbers; the exit status is 0 if all are 0.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import threading
import time
import urllib.request

from local_server import LocalServer
from machine import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEED = 20
POOL_IMAGES = 6  # of the largest tier, with guidance
MOST_IMAGES = 3  # of a request
SAMPLE_SECONDS = 0.1
SETTLE_SECONDS = 20
START_SECONDS = 600  # sanitizers are slow

COLOURS = ["red", "blue", "green", "yellow", "purple", "orange"]
THINGS = ["apple", "cat", "owl", "guitar", "fire engine", "house", "horse", "fish"]


def fail(message):
    sys.exit(f"load_check: error: {message}")


def mixed_requests(count, capabilities):
    """The same list for the same server: tiers, sizes, counts, all mixed."""
    draw = random.Random(SEED)
    tiers = [tier["name"] for tier in capabilities["tiers"]]
    model = capabilities["models"][0]
    requests = []
    for i in range(count):
        size = draw.choice(model["sizes"])
        request = {
            "id": f"{i:03}",
            "prompt": f"a {draw.choice(COLOURS)} {draw.choice(THINGS)} on a "
            f"{draw.choice(COLOURS)} background",
            "seed": draw.randrange(2**48),
            "tier": tiers[i % len(tiers)],
            "aspect": size["aspect"],
            "pixel_class": size["pixel_class"],
            "n": draw.choices(range(1, MOST_IMAGES + 1), weights=[75, 17, 8])[0],
            "guidance": draw.choices([model["default_guidance"], 1], [70, 30])[0],
            "priority": draw.choice(["low", "normal", "high"]),
            "tenant": draw.choice(["", "studio", "nightly"]),
        }
        form = draw.choices(["png", "jpeg", "webp"], weights=[80, 10, 10])[0]
        request["format"] = form
        if form != "png":
            request["quality"] = draw.choice([75, 90, 100])
        if draw.random() < 0.25:
            request["preview_scales"] = [3, len(size["scales"]) - 2]
            request["preview_edge"] = 64
        requests.append(request)
    return requests


def read_capabilities(binaries, server):
    result = subprocess.run(
        [binaries / "heatkv", "capabilities", "--json", f"--server={server.address}"],
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        fail(result.stderr)
    return json.loads(result.stdout)


def read_metrics(server):
    """{name: {labels: value}} of one scrape."""
    with urllib.request.urlopen(server.metrics_url, timeout=30) as response:
        text = response.read().decode()
    metrics = {}
    for name, labels, value in re.findall(
        r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE
    ):
        metrics.setdefault(name, {})[labels] = float(value)
    return metrics


def total(metrics, name, part=""):
    return sum(v for labels, v in metrics.get(name, {}).items() if part in labels)


def pools(metrics):
    """How many pools, one a device, a server has."""
    return len(metrics["heatkv_kv_pool_limit_bytes"])


class Sampler:
    """Looks at the server's metrics again and again until it is stopped."""

    def __init__(self, server):
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples = 0
        self.plan_error = 0
        self.most_used = 0
        self.most_running = 0
        self.most_waiting = 0
        self.most_planned = 0
        self.failure = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        if self.failure:
            fail(f"metrics cannot be read: {self.failure}")

    def _run(self):
        while not self._stop.is_set():
            try:
                self.look()
            except OSError as e:
                self.failure = e
                return
            self._stop.wait(SAMPLE_SECONDS)

    def look(self):
        metrics = read_metrics(self._server)
        self.samples += 1
        errors = metrics["heatkv_plan_error_bytes"].values()
        self.plan_error = max(self.plan_error, *(abs(e) for e in errors))
        used = total(metrics, "heatkv_kv_pool_bytes", 'state="used"')
        self.most_used = max(self.most_used, used)
        self.most_planned = max(
            self.most_planned, total(metrics, "heatkv_kv_pool_peak_sum_bytes")
        )
        running = total(metrics, "heatkv_images_running")
        self.most_running = max(self.most_running, running)
        waiting = total(metrics, "heatkv_requests_waiting")
        self.most_waiting = max(self.most_waiting, waiting)
        return used, running + total(metrics, "heatkv_requests_running") + waiting


def bench(flags, server, name, requests, *arguments):
    """One load; the figures and the records that `heatkv bench` wrote."""
    mix = flags.out / "requests.jsonl"
    mix.write_text("".join(json.dumps(request) + "\n" for request in requests))
    figures, records = flags.out / f"{name}.json", flags.out / f"{name}.jsonl"
    command = [
        flags.bin / "heatkv", "bench", f"--server={server.address}",
        f"--admin={server.admin_address}", f"--mix={mix}", "--replay",
        f"--json={figures}", f"--records={records}", f"--seed={SEED}", *arguments,
    ]
    for file in (figures, records):
        file.unlink(missing_ok=True)
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if not records.exists() or not figures.exists():
        fail(f"heatkv bench exited with {result.returncode}: {result.stdout}")
    print(f"--- {name}\n{result.stdout.rstrip()}", flush=True)
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    return json.loads(figures.read_text()), lines


def images_of(records):
    return {
        (record["id"], image["index"]): image
        for record in records
        for image in record["images"]
    }


def lost_of(records, count):
    """How many requests did not end as their clients meant them to."""
    lost = count - len(records)
    for record in records:
        if record["has_left"]:
            is_good = record["status"] in ("OK", "CANCELLED")
            is_good = is_good or record["fault"] == "vanish"
        else:
            is_good = (
                record["status"] == "OK"
                and len(record["images"]) == record["images_asked"]
            )
        if not is_good:
            lost += 1
            print(f"lost: {record['id']}: {record['status']}: {record['message']}")
    return lost


def wrong_of(records, reference):
    wrong = 0
    for key, image in images_of(records).items():
        original = reference.get(key)
        same = original is not None and original["sha256"] == image["sha256"]
        if not same or not image["is_intact"]:
            wrong += 1
            print(f"wrong: request {key[0]}, image {key[1]}")
    return wrong


def cancel_to_release(before, after):
    """What the histogram gained: (how many, [(upper bound, of them)...])."""
    name = "heatkv_cancel_to_release_seconds_bucket"
    bounds = {}
    for metrics, sign in ((after, 1), (before, -1)):
        for labels, value in metrics.get(name, {}).items():
            bound = float(re.search(r'le="([^"]+)"', labels).group(1))
            bounds[bound] = bounds.get(bound, 0) + sign * value
    steps = sorted(bounds.items())
    return (int(steps[-1][1]), steps) if steps else (0, [])


def release_quantiles(before, after):
    """Upper bounds in seconds of the times from a cancellation to the blocks."""
    count, steps = cancel_to_release(before, after)
    quantiles = {"count": count}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1)):
        quantiles[name] = next(
            (bound for bound, below in steps if count and below >= share * count),
            None,
        )
    return quantiles


def print_release(release):
    if release["count"] == 0:
        print("cancel to release: nobody was cancelled in the making")
        return
    print(
        f"cancel to release: {release['count']} requests, "
        f"p50 <= {release['p50']:g} s, p95 <= {release['p95']:g} s, "
        f"all <= {release['max']:g} s"
    )


def settle(sampler):
    """Waits for an empty server; the (bytes, requests) that are left in it."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        left = sampler.look()
        if left == (0, 0) or time.monotonic() > end:
            return left
        time.sleep(SAMPLE_SECONDS)


def configuration(folder, pool_bytes, queued_bytes, flags):
    file = folder / "server.yaml"
    file.write_text(
        f"cache: {{pool: {pool_bytes} B}}\n"
        f"scheduling: {{policy: {flags.policy}}}\n"
        f"limits: {{max_queued_requests: {4 * flags.requests}, "
        f"max_queued_bytes: {queued_bytes} B, max_request_time: 30 min}}\n"
        "stall_timeout: 60 s\n"
        f"warm_up: {flags.warm_up}\n"
    )
    return file


def mebibytes(count):
    return f"{count / 2**20:.1f} MiB"


def check(flags, server, capabilities, pool_bytes):
    requests = mixed_requests(flags.requests, capabilities)
    images = sum(request["n"] for request in requests)
    print(
        f"{len(requests)} requests, {images} images, "
        f"pool {mebibytes(pool_bytes)} a device"
    )
    with Sampler(server) as sampler:
        alone, alone_records = bench(
            flags, server, "one by one", requests, "--concurrency=1"
        )
        before = read_metrics(server)
        sampler.most_used = sampler.most_planned = sampler.most_running = 0
        loaded, loaded_records = bench(
            flags, server, "all at once", requests,
            f"--concurrency={len(requests)}",
            f"--cancel_share={flags.cancel_share}",
            f"--slow_share={flags.slow_share}",
            f"--vanish_share={flags.vanish_share}",
        )
        left_bytes, left_requests = settle(sampler)
        after = read_metrics(server)

    lost = lost_of(alone_records, len(requests))
    lost += lost_of(loaded_records, len(requests))
    wrong = wrong_of(loaded_records, images_of(alone_records))
    leaked = int(left_bytes + left_requests)
    plan_error = int(sampler.plan_error) + sum(
        record["plan_errors"] for record in alone_records + loaded_records
    )

    compared = len(images_of(loaded_records))
    high_water = loaded["pool"]["high_water_bytes"]
    devices = pools(after)
    all_pools = devices * pool_bytes
    print("--- check")
    print(
        f"one by one {alone['result']['wall_seconds']:.1f} s, all at once "
        f"{loaded['result']['wall_seconds']:.1f} s; {compared} images compared, "
        f"{loaded['result']['cancelled']} requests cancelled, "
        f"{loaded['result']['slow']} slow readers"
    )
    print(
        f"pool: {mebibytes(high_water)} of {mebibytes(all_pools)} at most; peaks "
        f"that added up to {mebibytes(sampler.most_planned)}, up to "
        f"{sampler.most_running:.0f} images in the making and "
        f"{sampler.most_waiting:.0f} requests waiting ({sampler.samples} samples)"
    )
    release = release_quantiles(before, after)
    print_release(release)
    if high_water > all_pools:
        print(f"the pool held {high_water - all_pools} bytes more than it has")
        plan_error = max(plan_error, high_water - all_pools)
    if flags.json:
        figures = {
            "benchmark": "load-check",
            **machine(),
            "server": loaded["server"]["server_version"],
            "model": loaded["server"]["models"][0]["name"],
            "policy": flags.policy,
            "devices": devices,
            "requests": len(requests),
            "cancelled": loaded["result"]["cancelled"],
            "slow_readers": loaded["result"]["slow"],
            "images_compared": compared,
            "one_by_one_seconds": round(alone["result"]["wall_seconds"], 3),
            "all_at_once_seconds": round(loaded["result"]["wall_seconds"], 3),
            "pool_bytes": pool_bytes,
            "high_water_bytes": high_water,
            "most_peak_sum_bytes": int(sampler.most_planned),
            "most_images_running": int(sampler.most_running),
            "most_requests_waiting": int(sampler.most_waiting),
            "cancel_to_release_seconds_at_most": release,
            "lost": lost,
            "wrong": wrong,
            "leaked": leaked,
            "plan_error": plan_error,
        }
        flags.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"lost={lost} wrong={wrong} leaked={leaked} plan_error={plan_error}")
    return lost == wrong == leaked == plan_error == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--server", default="heatkv_server", help="program in --bin")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out/load-check")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/default")
    parser.add_argument("--device", default="", help="as the server's --device")
    parser.add_argument(
        "--server_flag", action="append", default=[], help="one more for the server"
    )
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--policy", choices=["latency", "preview"], default="latency")
    parser.add_argument(
        "--warm_up",
        choices=["true", "first", "false"],
        default="true",
        help="false: on a GPU steps are recorded while others are being served",
    )
    parser.add_argument("--cancel_share", type=float, default=0.2)
    parser.add_argument("--slow_share", type=float, default=0.1)
    parser.add_argument("--vanish_share", type=float, default=0.0)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here")
    flags = parser.parse_args()
    flags.bin = flags.bin.resolve()
    for program in (flags.server, "heatkv"):
        if not (flags.bin / program).is_file():
            fail(f"{flags.bin / program} is not built: run make build")
    flags.out.mkdir(parents=True, exist_ok=True)
    lasting = [f"--model={flags.model.resolve()}", *flags.server_flag]
    if flags.device:
        lasting.append(f"--device={flags.device}")

    def start(*arguments):
        return LocalServer(
            flags.bin, [*lasting, *arguments], START_SECONDS, flags.server
        )

    with start() as server:
        capabilities = read_capabilities(flags.bin, server)
        devices = pools(read_metrics(server))
    largest = max(
        int(cost["peak_bytes_guided"])
        for size in capabilities["models"][0]["sizes"]
        for cost in size["tiers"]
    )
    pool_bytes = POOL_IMAGES * largest // devices
    queued_bytes = flags.requests * MOST_IMAGES * largest
    config = configuration(flags.out, pool_bytes, queued_bytes, flags)
    with start(f"--config={config}") as server:
        good = check(flags, server, capabilities, pool_bytes)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
