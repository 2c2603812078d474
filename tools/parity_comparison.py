"""How far two recorded runs are apart, and the table of a comparison.

The figures are those that heatkv_parity prints of a run of ours: for each
scale the root of the mean square of the logits' difference over that of the
recorded logits, the largest difference over the largest recorded value, and
the bits that came out otherwise on equal draws; for pictures the PSNR in dB
(None: equal).  Needs numpy and safetensors.
"""

import math
import os

import numpy as np
from safetensors.numpy import load_file

SMALLEST = 1e-6  # as in heatkv_parity: a recording of zeros divides by no zero


def relative_rms(mine, recorded):
    difference = np.sqrt(np.mean((mine.astype(np.float64) - recorded) ** 2))
    scale = np.sqrt(np.mean(recorded.astype(np.float64) ** 2))
    return float(difference / max(scale, SMALLEST))


def relative_max(mine, recorded):
    difference = np.abs(mine.astype(np.float64) - recorded).max()
    return float(difference / max(np.abs(recorded).max(), SMALLEST))


def psnr(mine, recorded):
    square = np.mean((mine.astype(np.float64) - recorded) ** 2)
    return None if square == 0 else 10 * math.log10(255**2 / square)


def compare(mine, recorded):
    """Both {name: array} of a recorded run."""
    scales = []
    while f"scale{len(scales):02d}.bits" in recorded:
        name = f"scale{len(scales):02d}."
        logits, bits = name + "logits_raw", name + "bits"
        scales.append({
            "logits_relative_rms": relative_rms(mine[logits], recorded[logits]),
            "logits_relative_max": relative_max(mine[logits], recorded[logits]),
            "bits_total": int(recorded[bits].size),
            "bits_flipped": int((mine[bits] != recorded[bits]).sum()),
        })
    image = "image_u8_bgr_hwc"
    return {"scales": scales, "psnr": psnr(mine[image], recorded[image])}


def compare_runs(mine, recorded):
    """The same for two folders."""
    return compare(*(load_file(os.path.join(folder, "goldens.safetensors"))
                     for folder in (mine, recorded)))


def decibels(value):
    return "equal" if value is None else f"{value:.2f} dB"


def table(case, precision, other):
    """Lines of text."""
    ours, far, floor = (case["ours_to_reference"]["scales"],
                        case["ours_to_other_precision"]["scales"],
                        case["floor"]["scales"])
    yield f"{case['case']}: ours in {precision}, the same bits fed to all"
    yield (f"ours: to the reference in {precision}; floor: the reference in "
           f"{other} to it; crossed: ours to the reference in {other}")
    yield (f"{'':5} {'':>8} | {'logits, relative rms':^32} | "
           f"{'bits flipped on equal draws':^35}")
    yield (f"{'scale':5} {'bits':>8} | {'ours':>10} {'floor':>10} "
           f"{'crossed':>10} | {'ours':>8} {'floor':>8} {'crossed':>8} "
           f"{'server':>8}")

    def line(label, rows):
        logits = " ".join(
            f"{max(r['logits_relative_rms'] for r in row):>10.2e}" for row in rows)
        bits = " ".join(
            f"{sum(r['bits_flipped'] for r in row):>8}" for row in rows)
        total = sum(r["bits_total"] for r in rows[0])
        server = sum(r["server_bits_flipped"] for r in rows[0])
        return f"{label:5} {total:>8} | {logits} | {bits} {server:>8}"

    for scale, rows in enumerate(zip(ours, floor, far)):
        yield line(str(scale), [[row] for row in rows])
    yield line("all", [ours, floor, far])
    yield ("picture, equal bits:  ours "
           f"{decibels(case['ours_to_reference']['psnr'])}, floor "
           f"{decibels(case['floor']['psnr'])}")
    yield ("picture, each its own bits:  ours "
           f"{decibels(case['ours_free']['psnr'])}, floor "
           f"{decibels(case['floor_free']['psnr'])}")


def print_case(case, precision, other):
    print()
    for line in table(case, precision, other):
        print(line, flush=True)
