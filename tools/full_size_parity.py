#!/usr/bin/env python3
"""Compares this project's model with the authors' at any size.

    python3 tools/full_size_parity.py --infinity ~/Infinity \\
        [--heatkv ~/heatkv] --parity build/cuda/bin/heatkv_parity \\
        --device cuda --size 2b --work /scratch/parity [--json out.json]

No trained weights are needed: seeded random ones of the chosen size are made
once and read by both sides.  For each budget (1: the full cache; others need
--heatkv) three things are compared on the same text features and the same
random draws:

  ours       heatkv_parity, in the precision of the device (bfloat16 on a GPU)
  reference  the authors' code in the same precision
  floor      the authors' code in the other precision (float32 on a GPU): how
             far rounding alone carries the reference from itself

Logits and bits are compared scale by scale on equal histories: at every scale
all sides are fed the bits that the reference chose.  `server` counts the bits
that a server draws otherwise from our logits, on a GPU by its kernel, than the
same random numbers draw from the reference's.  Pictures are compared on equal
bits (the VAE alone) and as they come out when each side feeds its own.

Each checkout's code runs in one process, ours in another.  Of the authors'
pruning their functions in torch run, not their kernels, which take minutes to
compile.

Runs in a Python with torch, numpy and safetensors; einops, timm and flash-attn
are used where they are installed.  Nothing of the authors' code is copied; it
runs from the checkouts.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys

from machine import commit, torch_machine
from parity_comparison import compare_runs, print_case

HERE = os.path.dirname(os.path.abspath(__file__))

# What the authors' table of models says (specification section 2), and some
# small ones to try this program with.
SIZES = {
    "2b": dict(depth=32, embed_dim=2048, num_heads=16, block_chunks=8),
    "8b": dict(depth=40, embed_dim=3584, num_heads=28, block_chunks=8, bits=14,
               patchify=True),
    "125m": dict(depth=12, embed_dim=768, num_heads=8, block_chunks=4),
    "1b": dict(depth=24, embed_dim=1536, num_heads=16, block_chunks=4),
    "tiny": dict(depth=2, embed_dim=128, num_heads=2, block_chunks=2,
                 vae_base=32, text_channels=256, text_maxlen=64),
    "small": dict(depth=4, embed_dim=256, num_heads=4, block_chunks=2,
                  vae_base=32, text_channels=256, text_maxlen=64),
    "tiny-patchify": dict(depth=2, embed_dim=128, num_heads=2, block_chunks=2,
                          bits=14, patchify=True, vae_base=32,
                          text_channels=256, text_maxlen=64),
}
DEFAULTS = dict(bits=32, patchify=False, vae_base=128, text_channels=2048,
                text_maxlen=512)
SCALES = {"0.06M": 7, "0.25M": 10, "0.60M": 12, "1M": 13}
SQUARE = [1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64]
SINK_SCALES = 3


def configuration(size):
    # The whole ladder is what the authors' constructor wants to know.
    return {**DEFAULTS, **SIZES[size],
            "template": [[1, side, side] for side in SQUARE]}


def random_orders(config, scales, seed):
    """A ranking of all heads for each source scale that may be dropped."""
    heads = [[head, layer] for layer in range(config["depth"])
             for head in range(config["num_heads"])]
    generator = random.Random(seed)
    orders = []
    for _ in range(SINK_SCALES, scales - 1):
        generator.shuffle(heads)
        orders.append(list(heads))
    return orders


class Case:
    """A budget, and the checkout whose code knows it."""

    def __init__(self, name, checkout, heatkv=None):
        self.name, self.checkout, self.heatkv = name, checkout, heatkv


class Parity:
    def __init__(self, arguments):
        self.arguments = arguments
        self.config = configuration(arguments.size)
        self.work = os.path.join(arguments.work, arguments.size)
        self.weights = os.path.join(self.work, f"weights-{arguments.seed}")
        sides = SQUARE[:SCALES[arguments.pixel_class]]
        self.run = {
            "schedule": [[1, side, side] for side in sides],
            "rope_grid": [SQUARE[-1], SQUARE[-1]],
            "text_lens": [arguments.tokens],
            "cfg": [arguments.guidance] * len(sides),
            "tau": [arguments.tau] * len(sides),
            "top_k": 900, "top_p": 0.97, "seed": arguments.seed,
        }
        both = ["float32", "bfloat16"]
        self.precision = arguments.precision or both[arguments.device != "cpu"]
        self.other = both[self.precision == "float32"]

    def reference(self, checkout, runs):
        """Starts the authors' code; what waits and says whether all of it ran."""
        job = {"checkout": checkout, "config": self.config,
               "weights": self.weights, "draw_weights": self.arguments.seed,
               "device": self.arguments.device, "runs": runs}
        name = os.path.basename(os.path.abspath(checkout))
        job_file = os.path.join(self.work, name + ".job.json")
        log = os.path.join(self.work, name + ".log")
        os.makedirs(self.work, exist_ok=True)
        with open(job_file, "w") as file:
            json.dump(job, file)
        print(f"the reference in {checkout}", flush=True)
        with open(log, "w") as errors:
            process = subprocess.Popen(
                [sys.executable, os.path.join(HERE, "parity_reference.py"),
                 job_file], stderr=errors)

        def wait():
            if process.wait() != 0:
                with open(log) as errors:
                    print(f"the reference in {checkout} failed:\n"
                          f"{errors.read()[-4000:]}", flush=True)
            return process.returncode == 0

        return wait

    def ours(self, asked):
        """Our reports of [(folder, whether the recorded bits are fed)]."""
        command = [self.arguments.parity, "--device", self.arguments.device,
                   "--precision", self.precision]
        for folder, fed in asked:
            command += ["--feed-recorded" if fed else "--own-bits", folder]
        print(f"ours in {self.precision}", flush=True)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            print(f"ours failed:\n{done.stderr}", flush=True)
        reports, text = [], done.stdout.strip()
        while text:
            report, end = json.JSONDecoder().raw_decode(text)
            reports.append(report)
            text = text[end:].lstrip()
        return reports

    def runs_of(self, case):
        """What the reference is asked to record for a case."""
        def run(precision, forced=None):
            name = precision + ("-forced" if forced else "")
            return {"out": os.path.join(self.work, case.name, name),
                    "precision": precision, "run": self.run,
                    "heatkv": case.heatkv, "forced": forced}

        same = run(self.precision)
        return [same, run(self.other), run(self.other, forced=same["out"])]

    def orders(self):
        path = self.arguments.orders
        if path is None:
            published = os.path.join(self.arguments.heatkv, "orders",
                                     self.arguments.size + ".json")
            path = published if os.path.exists(published) else None
        scales = len(self.run["schedule"])
        if path is None:
            return random_orders(self.config, scales, self.arguments.seed)
        with open(path) as file:
            return json.load(file)[:scales - 1 - SINK_SCALES]

    def cases(self):
        for budget in self.arguments.budgets:
            if budget == 1:
                yield Case("full", self.arguments.infinity)
            else:
                yield Case(f"heatkv-{budget:g}", self.arguments.heatkv,
                           {"budget": budget, "sink_scales": SINK_SCALES,
                            "orders": self.orders()})

    def record(self):
        """The cases whose reference ran, and whether all did."""
        cases = list(self.cases())
        waits, complete = [], True
        for checkout in dict.fromkeys(case.checkout for case in cases):
            runs = [run for case in cases if case.checkout == checkout
                    for run in self.runs_of(case)]
            for run in runs:
                shutil.rmtree(run["out"], ignore_errors=True)
            waits.append(self.reference(checkout, runs))
            if not self.arguments.at_once:
                complete &= waits.pop()()
        for wait in waits:
            complete &= wait()
        recorded = [case for case in cases
                    if all(os.path.exists(os.path.join(run["out"], "meta.json"))
                           for run in self.runs_of(case))]
        return recorded, complete

    def compare(self, cases):
        asked = []
        for case in cases:
            same, _, forced = (run["out"] for run in self.runs_of(case))
            asked += [(same, True), (forced, True), (same, False)]
        reports = self.ours(asked) if asked else []
        for number, case in enumerate(cases):
            mine = reports[3 * number:3 * number + 3]
            if len(mine) < 3:
                return
            same, other, forced = (run["out"] for run in self.runs_of(case))
            yield {
                "case": case.name,
                "heatkv_budget": case.heatkv and case.heatkv["budget"],
                "ours_to_reference": mine[0],
                "ours_to_other_precision": mine[1],
                "ours_free": mine[2],
                "floor": compare_runs(forced, same),
                "floor_free": compare_runs(other, same),
            }


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--infinity", required=True,
                        help="checkout of FoundationVision/Infinity")
    parser.add_argument("--heatkv", help="checkout of arm-research/heatkv")
    parser.add_argument("--parity", required=True, help="program heatkv_parity")
    parser.add_argument("--work", required=True,
                        help="folder for weights and recorded runs")
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--pixel_class", choices=SCALES, default="1M")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--precision", choices=("float32", "bfloat16"),
                        help="of ours (default: bfloat16 on a GPU, else float32)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=50, help="of the prompt")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--tau", type=float, default=1.0)
    parser.add_argument("--budgets",
                        type=lambda text: [float(b) for b in text.split(",")],
                        help="of the cache, separated by commas (default: "
                        "1,0.1,0.04, or 1 without --heatkv)")
    parser.add_argument("--orders", help="ranking of heads, as the authors "
                        "publish it (default: theirs for the size, or a random "
                        "one)")
    parser.add_argument("--at_once", action="store_true",
                        help="run both checkouts at once (Infinity-2B: 70 GB of "
                        "the GPU)")
    parser.add_argument("--json", help="file for all figures")
    parser.add_argument("--commit", help="written into the file (default: that "
                        "of this checkout)")
    parsed = parser.parse_args(arguments)
    if parsed.device == "cuda" and parsed.precision == "float32":
        parser.error("ours has no float32 on a GPU")
    if parsed.budgets is None:
        parsed.budgets = [1, 0.1, 0.04] if parsed.heatkv else [1]
    if parsed.heatkv is None and set(parsed.budgets) != {1}:
        parser.error("budgets other than 1 need --heatkv")
    return parsed


def report(parity, compared):
    """Everything that the file says."""
    arguments = parity.arguments
    return {**torch_machine(arguments.device, arguments.commit or commit()),
            "size": arguments.size, "precision": parity.precision,
            "run": parity.run, "random_weights": arguments.seed,
            "cases": compared}


def main():
    arguments = parse(sys.argv[1:])
    parity = Parity(arguments)
    cases, complete = parity.record()
    compared = []
    for case in parity.compare(cases):
        print_case(case, parity.precision, parity.other)
        compared.append(case)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(report(parity, compared), file, indent=1)
    if not complete or len(compared) < len(arguments.budgets):
        sys.exit("not all of it could be compared")


if __name__ == "__main__":
    main()
