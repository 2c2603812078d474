"""What is asked of the reference and of ours, without running either."""
import json
import pathlib
import sys
import types

import pytest

import full_size_parity
import machine
from full_size_parity import Parity, parse, report

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


class Recorded:
    """A reference that is only asked; ours that answer with what they are
    asked."""

    def __init__(self, monkeypatch, fails=()):
        self.asked, self.fails = [], fails
        monkeypatch.setattr(Parity, "reference", self.reference)
        monkeypatch.setattr(Parity, "ours", lambda self, asked: asked)
        monkeypatch.setattr(full_size_parity, "compare_runs",
                            lambda *folders: folders)

    def reference(self, checkout, runs):
        self.asked.append((checkout, runs))
        for run in runs[:1 if checkout in self.fails else None]:
            folder = pathlib.Path(run["out"])
            folder.mkdir(parents=True)
            (folder / "meta.json").write_text("{}")
        return lambda: checkout not in self.fails


def test_the_other_precision_is_the_floor(tmp_path, monkeypatch):
    recorded = Recorded(monkeypatch)
    asking = parity(tmp_path)
    cases, complete = asking.record()
    [(checkout, runs)] = recorded.asked
    assert (checkout, complete) == ("i", True)
    same, other, forced = (run["out"] for run in runs)
    assert [run["precision"] for run in runs] == ["float32", "bfloat16", "bfloat16"]
    assert [run["forced"] for run in runs] == [None, None, same]
    [case] = asking.compare(cases)
    assert case["floor"] == (forced, same)
    assert case["floor_free"] == (other, same)
    assert case["ours_to_reference"] == (same, True)
    assert case["ours_to_other_precision"] == (forced, True)
    assert case["ours_free"] == (same, False)


def test_a_checkout_runs_once_for_all_its_budgets(tmp_path, monkeypatch):
    recorded = Recorded(monkeypatch)
    asking = parity(tmp_path, "--heatkv", "h", "--budgets", "0.4,1,0.2",
                    "--pixel_class", "0.25M")
    cases, _ = asking.record()
    assert [checkout for checkout, _ in recorded.asked] == ["h", "i"]
    assert [run["heatkv"]["budget"] for run in recorded.asked[0][1]] == (
        [0.4] * 3 + [0.2] * 3)
    assert [case["case"] for case in asking.compare(cases)] == [
        "heatkv-0.4", "full", "heatkv-0.2"]


def test_what_could_be_run_is_compared(tmp_path, monkeypatch):
    Recorded(monkeypatch, fails=["h"])
    asking = parity(tmp_path, "--heatkv", "h", "--budgets", "1,0.4")
    cases, complete = asking.record()
    assert not complete
    assert [case["case"] for case in asking.compare(cases)] == ["full"]


def test_reports_are_read_one_after_the_other(tmp_path, monkeypatch):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nfor i in $*; do echo '{\n\"is\": \"'$i'\"}'; done\n"
                       "exit 1\n")
    program.chmod(0o755)
    asking = Parity(parse(["--infinity", "i", "--parity", str(program), "--device",
                           "cpu", "--size", "tiny", "--work", str(tmp_path)]))
    reports = asking.ours([("a", True), ("b", False)])
    assert [report["is"] for report in reports][4:] == [
        "--feed-recorded", "a", "--own-bits", "b"]


def test_the_file_says_where_and_of_what_it_was_measured(tmp_path, monkeypatch):
    torch = types.SimpleNamespace(
        __version__="2.11.0",
        cuda=types.SimpleNamespace(get_device_name=lambda: "NVIDIA H200"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(machine, "driver", lambda: "580.1")
    said = report(parity(tmp_path, "--commit", "abc"), ["a case"])
    assert list(said)[:3] == ["device", "torch", "commit"]
    assert (said["device"], said["torch"], said["commit"]) == (
        "cpu", "2.11.0", "abc")
    assert (said["size"], said["precision"], said["cases"]) == (
        "tiny", "float32", ["a case"])
    said = report(parity(tmp_path, "--device", "cuda"), [])
    assert (said["device"], said["driver"]) == ("NVIDIA H200", "580.1")
    assert said["commit"] == machine.commit()


def test_no_driver_is_named_where_none_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.driver() is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 580.159.04\n")
    program.chmod(0o755)
    assert machine.driver() == "580.159.04"


def test_what_cannot_be_run_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        parity(tmp_path, "--budgets", "0.1")
    with pytest.raises(SystemExit):
        parse([*ARGUMENTS, "--work", "w", "--device", "cuda", "--precision",
               "float32"])
