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
all sides are fed the bits that the reference chose.  Pictures are compared on
equal bits (the VAE alone) and as they come out when each side feeds its own.

Runs in a Python with torch, numpy and safetensors; einops, timm and flash-attn
are used where they are installed.  Nothing of the authors' code is copied; it
runs from the checkouts.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

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

    def reference(self, checkout, **job):
        job = {"checkout": checkout, "config": self.config,
               "weights": self.weights, **job}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(job, file)
            file.flush()
            done = subprocess.run(
                [sys.executable, os.path.join(HERE, "parity_reference.py"),
                 file.name], stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"the reference in {checkout} failed:\n"
                             f"{done.stderr[-4000:]}")

    def make_weights(self):
        if os.path.exists(os.path.join(self.weights, "vae.safetensors")):
            return
        print(f"drawing weights of size {self.arguments.size}", flush=True)
        self.reference(self.arguments.infinity,
                       draw_weights=self.arguments.seed)

    def ours(self, folder, *flags):
        command = [self.arguments.parity, "--device", self.arguments.device,
                   "--precision", self.precision, *flags, folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
        return json.loads(done.stdout)

    def case(self, name, checkout, heatkv=None):
        def reference(precision, forced=None):
            out = os.path.join(
                self.work, name, precision + ("-forced" if forced else ""))
            print(f"{name}: the reference in {precision}"
                  f"{', fed the same bits' if forced else ''}", flush=True)
            self.reference(checkout, out=out, device=self.arguments.device,
                           precision=precision, run=self.run, heatkv=heatkv,
                           forced=forced)
            return out

        same = reference(self.precision)
        other = reference(self.other)
        other_forced = reference(self.other, forced=same)
        print(f"{name}: ours in {self.precision}", flush=True)
        return {
            "case": name, "heatkv_budget": heatkv and heatkv["budget"],
            "ours_to_reference": self.ours(same, "--feed-recorded"),
            "ours_to_other_precision": self.ours(other_forced, "--feed-recorded"),
            "ours_free": self.ours(same),
            "floor": compare_runs(other_forced, same),
            "floor_free": compare_runs(other, same),
        }

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

    def all_cases(self):
        self.make_weights()
        for budget in self.arguments.budgets:
            if budget == 1:
                yield self.case("full", self.arguments.infinity)
            else:
                yield self.case(f"heatkv-{budget:g}", self.arguments.heatkv,
                                {"budget": budget, "sink_scales": SINK_SCALES,
                                 "orders": self.orders()})


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
    parser.add_argument("--json", help="file for all figures")
    parsed = parser.parse_args(arguments)
    if parsed.device == "cuda" and parsed.precision == "float32":
        parser.error("ours has no float32 on a GPU")
    if parsed.budgets is None:
        parsed.budgets = [1, 0.1, 0.04] if parsed.heatkv else [1]
    if parsed.heatkv is None and set(parsed.budgets) != {1}:
        parser.error("budgets other than 1 need --heatkv")
    return parsed


def main():
    arguments = parse(sys.argv[1:])
    parity = Parity(arguments)
    cases = []
    for case in parity.all_cases():
        print_case(case, parity.precision, parity.other)
        cases.append(case)
        if arguments.json:  # what is done stays, should a later case fail
            with open(arguments.json, "w") as file:
                json.dump({"size": arguments.size, "device": arguments.device,
                           "precision": parity.precision, "run": parity.run,
                           "random_weights": arguments.seed, "cases": cases},
                          file, indent=1)


if __name__ == "__main__":
    main()
