#!/usr/bin/env python3
"""Times the authors' implementations on this machine's GPU, beside ours.

    tools/time_reference.py --infinity ~/Infinity [--heatkv ~/heatkv] \\
        --size 2b --ours out/gpu/bench-gpu.json

One image of 1024x1024 with guidance, in bfloat16, with random weights of the
true size (they change neither speed nor memory), as the authors' code does it:
from text features to pixels, without the text encoder.  What is measured after a
first image is put into the file of ours under "references", with a table on
standard output:

  seconds_per_image, vae_seconds     medians
  first_image_seconds                what is compiled, it is compiled here
  memory_beyond_weights_gb           torch's peak of allocated memory less what
                                     the weights take
  memory_beyond_weights_reserved_gb  torch's peak of reserved memory less what it
                                     had reserved for the weights

HeatKV's kernel takes the cache's capacity as a value of the call instead of one
of the compilation, so that it compiles once a scale and not once a layer, which
takes minutes; what it computes is the same.  flash-attention is used where it is
installed, otherwise torch's.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from full_size_parity import SINK_SCALES, Parity
from full_size_parity import parse as parse_parity

HERE = os.path.dirname(os.path.abspath(__file__))
GIGA = 1e9


def fill(module, seed, torch, law_of):
    """Draws a module's weights where they are."""
    generator = torch.Generator("cuda").manual_seed(seed)
    with torch.no_grad():
        for name, tensor in sorted(module.state_dict().items()):
            deviation, mean = law_of(name, tuple(tensor.shape))
            if not tensor.is_floating_point():
                continue
            if deviation:
                tensor.normal_(mean, deviation, generator=generator)
            else:
                tensor.fill_(mean)


def compile_once_a_scale():
    """Lets HeatKV's kernel take what differs between layers at run time."""
    import real_pruning_fused_attention as fused
    import triton

    kernel = fused._fused_real_pruning_segmented_attention_kernel.fn
    for name in ("OLD_CAPACITY", "MAX_SEGMENTS"):
        kernel.__annotations__.pop(name)
    fused._fused_real_pruning_segmented_attention_kernel = triton.jit(kernel)


def measure(job):
    """In a process of its own: figures of one checkout."""
    import torch

    import parity_reference
    import parity_shims
    from parity_weights import law_of

    sys.path.insert(0, os.path.abspath(job["checkout"]))
    parity_shims.install(compiles=True)
    device = job["device"]
    with contextlib.redirect_stdout(sys.stderr):
        model, vae = parity_reference.build(job)
        for block in model.unregistered_blocks:
            block.bfloat16()
        model, vae = model.to(device).eval(), vae.to(device).eval()
        fill(model, 1, torch, law_of)
        fill(vae, 2, torch, law_of)
        model.requires_grad_(False)
        vae.requires_grad_(False)
        model.rng = torch.Generator(device)
        if job["heatkv"]:
            compile_once_a_scale()
            parity_reference.enable_heatkv(model, job["heatkv"],
                                           job["run"]["schedule"],
                                           reference_attention=False)
        torch.cuda.empty_cache()
        weights = torch.cuda.memory_allocated()
        weights_reserved = torch.cuda.memory_reserved()
        decode, decodings = vae.decode, []

        def timed_decode(codes):
            torch.cuda.synchronize()
            begin = time.monotonic()
            pixels = decode(codes)
            torch.cuda.synchronize()
            decodings.append(time.monotonic() - begin)
            return pixels

        vae.decode = timed_decode
        seconds = []
        for repeat in range(1 + job["repeats"]):
            if repeat == 1:
                # What compiling and tuning reserved is not an image's.
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            begin = time.monotonic()
            with (torch.no_grad(),
                  torch.autocast(device, dtype=torch.bfloat16)):
                parity_reference.generate(model, vae, job["config"], job["run"],
                                          device).cpu()
            seconds.append(time.monotonic() - begin)
    return {
        "seconds_per_image": statistics.median(seconds[1:]),
        "seconds_per_image_all": seconds[1:],
        "first_image_seconds": seconds[0],
        "vae_seconds": statistics.median(decodings[1:]),
        "weights_gb": weights / GIGA,
        "memory_beyond_weights_gb":
            (torch.cuda.max_memory_allocated() - weights) / GIGA,
        "memory_beyond_weights_reserved_gb":
            (torch.cuda.max_memory_reserved() - weights_reserved) / GIGA,
        "torch": torch.__version__,
    }


def in_a_process(job, timeout):
    """The figures, or {"error": why there are none}."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        try:
            done = subprocess.run(
                [sys.executable, os.path.abspath(__file__), "--job", file.name],
                capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"error": f"took longer than {timeout} s"}
    if done.returncode != 0:
        return {"error": done.stderr[-3000:]}
    return json.loads(done.stdout.splitlines()[-1])


def table(ours, references):
    columns = ("seconds_per_image", "vae_seconds", "first_image_seconds",
               "memory_beyond_weights_gb", "memory_beyond_weights_reserved_gb")
    yield f"{'one image':28}" + "".join(f"  {name}" for name in columns)
    rows = dict(references)
    if "seconds_per_image_1" in ours:
        row = {**ours, "seconds_per_image": ours["seconds_per_image_1"],
               "memory_beyond_weights_gb": ours["memory_beyond_weights_gb_1"]}
        reserved = ours["in_flight"][0].get("reserved_beyond_weights_gb")
        if reserved is not None:
            row["memory_beyond_weights_reserved_gb"] = reserved
        rows["this server, 10 %"] = row
    for name, row in rows.items():
        if "error" in row:
            yield f"{name:28} failed: {row['error'].strip().splitlines()[-1]}"
        else:
            yield f"{name:28}" + "".join(
                f"  {row[key]:{len(key)}.3f}" if key in row
                else f"  {'–':>{len(key)}}" for key in columns)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--infinity", help="checkout of FoundationVision/Infinity")
    parser.add_argument("--heatkv", help="checkout of arm-research/heatkv")
    parser.add_argument("--size", default="2b")
    parser.add_argument("--budget", type=float, default=0.1, help="of HeatKV")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=150,
                        help="seconds that a checkout may take")
    parser.add_argument("--ours", help="file of heatkv_bench_gpu to add to; made "
                        "if it is not there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.job:
        with open(flags.job) as file:
            print(json.dumps(measure(json.load(file))))
        return
    if not flags.infinity and not flags.heatkv:
        parser.error("name a checkout")
    # The same model, ladder and ranking as the parity of that size.
    parity = Parity(parse_parity(
        ["--infinity", flags.infinity or "", "--heatkv", flags.heatkv or "",
         "--parity", "", "--work", "", "--size", flags.size]))
    job = {"config": parity.config, "run": parity.run, "device": "cuda",
           "repeats": flags.repeats}
    references = {}
    if flags.infinity:
        references["Infinity"] = in_a_process(
            {**job, "checkout": flags.infinity, "heatkv": None}, flags.timeout)
    if flags.heatkv:
        references[f"HeatKV, {flags.budget:.0%}"] = in_a_process(
            {**job, "checkout": flags.heatkv,
             "heatkv": {"budget": flags.budget, "sink_scales": SINK_SCALES,
                        "orders": parity.orders()}}, flags.timeout)
    ours = {}
    if flags.ours:
        if os.path.exists(flags.ours):
            with open(flags.ours) as file:
                ours = json.load(file)
        ours["references"] = references
        with open(flags.ours, "w") as file:
            json.dump(ours, file, indent=2)
            file.write("\n")
    for line in table(ours, references):
        print(line, flush=True)
    if any("error" in row for row in references.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
