"""What is asked of the reference and of ours, without running either."""
import json

import pytest

import full_size_parity
from full_size_parity import Parity, parse

ARGUMENTS = ["--infinity", "i", "--parity", "p", "--device", "cpu", "--size",
             "tiny"]


def parity(tmp_path, *arguments):
    return Parity(parse([*ARGUMENTS, "--work", str(tmp_path), *arguments]))


def test_a_pixel_class_is_the_first_scales_of_the_ladder(tmp_path):
    run = parity(tmp_path, "--pixel_class", "0.25M").run
    assert len(run["schedule"]) == len(run["cfg"]) == len(run["tau"]) == 10
    assert run["schedule"][-1] == [1, 32, 32]
    assert run["rope_grid"] == [64, 64]


def test_a_random_ranking_names_every_head_once_for_each_source_scale(tmp_path):
    orders = parity(tmp_path, "--heatkv", "h", "--pixel_class", "0.25M").orders()
    assert len(orders) == 10 - 1 - full_size_parity.SINK_SCALES
    for order in orders:
        assert sorted(order) == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_published_orders_are_used_as_far_as_the_ladder_goes(tmp_path):
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "tiny.json").write_text(json.dumps([[1], [2], [3], [4]]))
    assert parity(tmp_path, "--heatkv", str(tmp_path), "--pixel_class",
                  "0.06M").orders() == [[1], [2], [3]]


def test_the_other_precision_is_the_floor(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Parity, "reference",
                        lambda self, checkout, **job: asked.append(job))
    monkeypatch.setattr(Parity, "ours", lambda self, folder, *flags: flags)
    monkeypatch.setattr(full_size_parity, "compare_runs", lambda *folders: folders)
    case = parity(tmp_path).case("full", "i")
    same = asked[0]["out"]
    assert [job["precision"] for job in asked] == ["float32", "bfloat16", "bfloat16"]
    assert [job["forced"] for job in asked] == [None, None, same]
    assert case["floor"] == (asked[2]["out"], same)
    assert case["floor_free"] == (asked[1]["out"], same)
    assert case["ours_to_reference"] == ("--feed-recorded",)
    assert case["ours_free"] == ()


def test_what_cannot_be_run_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        parity(tmp_path, "--budgets", "0.1")
    with pytest.raises(SystemExit):
        parse([*ARGUMENTS, "--work", "w", "--device", "cuda", "--precision",
               "float32"])
