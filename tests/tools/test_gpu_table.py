"""Tables of measurements."""
import json
import pathlib

import pytest
from gpu_table import kernels_table, parity_table, speed_table

RESULT = {
    "device": "NVIDIA H200, compute capability 9.0", "model": "infinity-2b",
    "ladder": "1:1 1M", "weights": "random, seed 1", "commit": "abc",
    "budget": 0.1, "seconds_per_image_1": 0.2222, "vae_seconds": 0.0273,
    "first_image_seconds": 0.25, "memory_beyond_weights_gb_1": 1.25,
    "in_flight": [{"scale_ms": [1, 2, 3, 4, 5, 6, 7.25, 80, 90],
                   "work": {"share_of_matrix_rate": 0.625}}],
    "matrix_tflops": 765.6,
}


def cells(lines, name):
    line = next(line for line in lines if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_ours_alone_is_a_table_of_one_column():
    lines = list(speed_table(RESULT))
    assert lines[0].startswith("NVIDIA H200, infinity-2b, 1:1 1M")
    assert cells(lines, "one image, s") == ["0.222"]
    assert cells(lines, "VAE, ms") == ["27.3"]
    assert cells(lines, "slowest scale") == ["7.2"]
    assert cells(lines, "share of 766 TFLOP/s") == ["62"]
    assert not any("8 at once" in line for line in lines)


def test_theirs_stand_beside_ours_and_what_failed_is_empty():
    lines = list(speed_table({**RESULT, "seconds_per_image_8": 0.21, "references": {
        "Infinity": {"seconds_per_image": 0.98, "vae_seconds": 0.124,
                     "first_image_seconds": 11.7, "memory_beyond_weights_gb": 9.0},
        "HeatKV, 10%": {"error": "no"}}}))
    assert cells(lines, "one image, s") == ["0.222", "0.980", "–"]
    assert cells(lines, "8 at once") == ["0.210", "–", "–"]
    assert cells(lines, "memory beyond weights") == ["1.25", "9.00", "–"]
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_the_two_ways_to_count_memory_stand_in_lines_of_their_own():
    theirs = {"seconds_per_image": 0.98, "vae_seconds": 0.124,
              "first_image_seconds": 11.7, "memory_beyond_weights_gb": 9.0,
              "memory_beyond_weights_reserved_gb": 12.25}
    in_flight = [{**RESULT["in_flight"][0], "reserved_beyond_weights_gb": 1.5}]
    lines = list(speed_table({**RESULT, "work_arena_gb": {"taken": 0.75},
                              "memory_beyond_weights_gb_8": 3.5,
                              "in_flight": in_flight,
                              "references": {"Infinity": theirs}}))
    assert cells(lines, "memory beyond weights") == ["1.25", "9.00"]
    assert cells(lines, "the same, 8 images") == ["3.50", "–"]
    assert cells(lines, "reserved beyond weights") == ["1.50", "12.25"]
    assert cells(lines, "work arena") == ["0.75", "–"]


def test_measurements_that_are_kept_have_a_table():
    results = pathlib.Path(__file__).parents[2] / "bench" / "results"
    for name in ("gpu-h200.json", "gpu-8b-h200.json"):
        with open(results / name) as file:
            lines = list(speed_table(json.load(file)))
        assert cells(lines, "memory beyond weights")[0] != "–"


def test_parity_shows_the_worst_scale_and_all_bits():
    def side(rms, flipped, psnr):
        return {"psnr": psnr, "scales": [
            {"logits_relative_rms": rms, "bits_flipped": flipped, "bits_total": 8},
            {"logits_relative_rms": rms / 2, "bits_flipped": 1, "bits_total": 2}]}

    lines = list(parity_table({"cases": [
        {"case": "full", "ours_to_reference": side(0.004, 2, 43.54),
         "floor": side(0.003, 4, None)}]}))
    assert cells(lines, "full") == ["4.0e-03", "3.0e-03", "3", "5", "10", "43.5", "–"]


def test_kernels_have_a_column_a_small_scale():
    def part(name, *kernels):
        return {"part": name, "wall_us": 50.6, "busy_us": 40.6, "idle_us": 10,
                "kernels": [{"name": kernel, "calls": calls, "us": us}
                            for kernel, calls, us in kernels]}

    lines = list(kernels_table({"parts": [
        part("scale 1", ("f<2>", 3, 30.4), ("g", 1, 10.2)), part("scale 2", ("g", 2, 40)),
        *(part(f"scale {i}") for i in range(3, 14)), part("decode", ("h", 1, 40))]}))
    assert cells(lines, "") == [f"scale {i}" for i in range(1, 8)]
    assert cells(lines, "all, us")[:2] == ["51", "51"]
    assert cells(lines, "nothing ran, us")[:2] == ["10", "10"]
    assert cells(lines, "`g`") == ["10 (1)", "40 (2)"] + [""] * 5
    assert cells(lines, "`f<2>`")[:2] == ["30 (3)", ""]
    assert [line.split("`")[1] for line in lines[4:]] == ["g", "f<2>"]
    with pytest.raises(SystemExit, match="no kernels"):
        list(kernels_table({"parts": [{"wall_us": 1}]}))
