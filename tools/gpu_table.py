#!/usr/bin/env python3
"""Tables, as Markdown, of what tools/gpu_check.sh measured.

    tools/gpu_table.py bench/results/gpu-h200.json [--parity parity.json]
    tools/gpu_table.py --kernels kernels.json

The first file is heatkv_bench_gpu's; where the authors' code was timed beside
it, it has columns of its own.  With --parity comes a table of how far ours and
the reference itself are from the reference, with --kernels one of what the
device did in the scales of at most 256 tokens (heatkv_bench_gpu --profile).
"""

import argparse
import json


def value(number, digits, factor=1):
    return "–" if number is None else f"{number * factor:.{digits}f}"


def row(name, cells):
    return f"| {name} | " + " | ".join(cells) + " |"


def head(cells):
    yield row("", cells)
    yield "|---|" + "---|" * len(cells)


SMALL = 7  # of the scales, those of at most 256 tokens


def slowest_small_scale(result):
    """In milliseconds."""
    return max(result["in_flight"][0]["scale_ms"][:SMALL])


def speed_table(result):
    references = result.get("references", {})
    columns = [f"this server, {result['budget']:.0%}", *references]
    yield f"{result['device'].split(',')[0]}, {result['model']}, " \
          f"{result['ladder']}, weights {result['weights']}, commit " \
          f"{result['commit']}"
    yield ""
    yield from head(columns)

    def line(name, ours, key, digits, factor=1):
        theirs = [reference.get(key) for reference in references.values()]
        return row(name, [value(number, digits, factor)
                          for number in [ours, *theirs]])

    yield line("one image, s", result["seconds_per_image_1"],
               "seconds_per_image", 3)
    for images in (4, 8):
        key = f"seconds_per_image_{images}"
        if key in result:
            yield line(f"{images} at once, s an image", result[key], "none", 3)
    yield line("VAE, ms", result["vae_seconds"], "vae_seconds", 1, 1e3)
    yield line("slowest scale up to 16x16, ms", slowest_small_scale(result), "none", 1)
    if "previews" in result:
        previews = result["previews"]["after_every_scale"]
        yield line("first preview, ms", previews["seconds_to_first_preview"],
                   "none", 0, 1e3)
    yield line("first image of a ready server, s", result["first_image_seconds"],
               "first_image_seconds", 2)
    yield line("memory beyond weights, one image, GB",
               result["memory_beyond_weights_gb_1"],
               "memory_beyond_weights_gb", 2)
    if "memory_beyond_weights_gb_8" in result:
        yield line("the same, 8 images, GB",
                   result["memory_beyond_weights_gb_8"], "none", 2)
    if "work_arena_gb" in result:
        yield line("reserved beyond weights, one image, GB",
                   result["in_flight"][0].get("reserved_beyond_weights_gb"),
                   "memory_beyond_weights_reserved_gb", 2)
        yield line("work arena, GB", result["work_arena_gb"]["taken"], "none", 2)
    if "matrix_tflops" in result:
        work = result["in_flight"][0]["work"]
        yield line(f"share of {result['matrix_tflops']:.0f} TFLOP/s, %",
                   work["share_of_matrix_rate"], "none", 0, 100)


def parity_table(parity):
    yield from head(["logits, relative rms: ours", "floor", "bits flipped: ours",
                     "floor", "of", "picture, equal bits, dB: ours", "floor"])
    for case in parity["cases"]:
        ours, floor = case["ours_to_reference"], case["floor"]
        cells = []
        for key, join, show in (
                ("logits_relative_rms", max, "{:.1e}".format),
                ("bits_flipped", sum, str)):
            for side in (ours, floor):
                cells.append(show(join(s[key] for s in side["scales"])))
        cells.append(str(sum(s["bits_total"] for s in ours["scales"])))
        cells += [value(side["psnr"], 1) for side in (ours, floor)]
        yield row(case["case"], cells)


def kernels_table(profile):
    """Microseconds (calls) of the longest kernels, a column a small scale."""
    parts = profile["parts"][:SMALL]
    if not all("kernels" in part for part in parts):
        raise SystemExit("its parts have no kernels: measure again")
    yield from head([part["part"] for part in parts])
    for name, key in (("all", "wall_us"), ("nothing ran", "idle_us")):
        yield row(f"{name}, us", [value(part[key], 0) for part in parts])
    columns = [{kernel["name"]: kernel for kernel in part["kernels"]}
               for part in parts]
    total = {}
    for column in columns:
        for name, kernel in column.items():
            total[name] = total.get(name, 0) + kernel["us"]
    for name in sorted(total, key=total.get, reverse=True):
        yield row(f"`{name}`", [
            f"{column[name]['us']:.0f} ({column[name]['calls']})"
            if name in column else "" for column in columns])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="?", help="file of heatkv_bench_gpu")
    parser.add_argument("--parity", help="file of tools/full_size_parity.py")
    parser.add_argument("--kernels", help="file of heatkv_bench_gpu --profile")
    flags = parser.parse_args()
    tables = []
    for name, make in ((flags.bench, speed_table), (flags.parity, parity_table),
                       (flags.kernels, kernels_table)):
        if name:
            with open(name) as file:
                tables.append("\n".join(make(json.load(file))))
    if not tables:
        parser.error("name a file of heatkv_bench_gpu, --parity or --kernels")
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
