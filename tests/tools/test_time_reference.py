"""The table beside the authors' code."""
from time_reference import table

THEIRS = {"seconds_per_image": 0.98, "vae_seconds": 0.124,
          "first_image_seconds": 11.7, "memory_beyond_weights_gb": 9.0,
          "memory_beyond_weights_reserved_gb": 12.25}
OURS = {"seconds_per_image_1": 0.2, "vae_seconds": 0.02,
        "first_image_seconds": 0.25, "memory_beyond_weights_gb_1": 1.25}


def rows(ours, references):
    """The cells of each row behind its name of 28 characters."""
    return [line[28:].split() for line in table(ours, references)]


def test_both_ways_to_count_memory_stand_beside_theirs():
    ours_now = {**OURS, "in_flight": [{"reserved_beyond_weights_gb": 1.5}]}
    names, theirs, ours = rows(ours_now, {"Infinity": THEIRS})
    assert names[-1] == "memory_beyond_weights_reserved_gb"
    assert theirs == ["0.980", "0.124", "11.700", "9.000", "12.250"]
    assert ours == ["0.200", "0.020", "0.250", "1.250", "1.500"]


def test_older_results_of_ours_say_nothing_of_reserved_memory():
    older = {**OURS, "in_flight": [{}]}
    assert rows(older, {})[-1] == ["0.200", "0.020", "0.250", "1.250", "–"]


def test_what_failed_says_why():
    lines = list(table({}, {"HeatKV, 10%": {"error": "Traceback\nno memory\n"}}))
    assert lines[1:] == [f"{'HeatKV, 10%':28} failed: no memory"]
