"""Figures of two recorded runs, and the table that shows them."""
import math

import numpy as np

from parity_comparison import compare, table


def run(logits, bits, image):
    return {"scale00.logits_raw": np.array(logits, np.float32),
            "scale00.bits": np.array(bits, np.uint8),
            "image_u8_bgr_hwc": np.array(image, np.uint8)}


def test_equal_runs_differ_by_nothing():
    same = run([1, -2], [0, 1], [10, 20])
    assert compare(same, same) == {
        "scales": [{"logits_relative_rms": 0, "logits_relative_max": 0,
                    "bits_total": 2, "bits_flipped": 0}],
        "psnr": None}


def test_differences_are_relative_to_the_recorded_run():
    result = compare(run([3, 4.5], [0, 1, 1], [10, 20]),
                     run([3, 4], [1, 1, 0], [10, 22]))
    scale = result["scales"][0]
    assert math.isclose(scale["logits_relative_rms"], 0.5 / 5)
    assert math.isclose(scale["logits_relative_max"], 0.5 / 4)
    assert (scale["bits_flipped"], scale["bits_total"]) == (2, 3)
    assert math.isclose(result["psnr"], 10 * math.log10(255**2 / 2))


def test_the_table_sums_bits_and_shows_the_worst_logits():
    def figures(rms, flipped):
        return {"scales": [
            {"logits_relative_rms": rms, "bits_total": 8, "bits_flipped": flipped,
             "server_bits_flipped": 7},
            {"logits_relative_rms": rms / 2, "bits_total": 92,
             "bits_flipped": flipped, "server_bits_flipped": 5}], "psnr": 40.0}

    lines = list(table(
        {"case": "full", "ours_to_reference": figures(0.25, 1),
         "ours_to_other_precision": figures(0.5, 2), "floor": figures(1, 3),
         "ours_free": {"psnr": None}, "floor_free": {"psnr": 21.5}},
        "bfloat16", "float32"))
    whole = next(line for line in lines if line.startswith("all"))
    assert whole.split() == ["all", "100", "|", "2.50e-01", "1.00e+00",
                             "5.00e-01", "|", "2", "6", "4", "12"]
    assert lines[-1].endswith("ours equal, floor 21.50 dB")
