"""The load generator against a real server, and the check that rests on it."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAST_LINE = "lost=0 wrong=0 leaked=0 plan_error=0"


@pytest.fixture
def bench(programs, server, tmp_path):
    def run(*arguments, at=server):
        return subprocess.run(
            [programs / "heatkv", "bench", f"--server={at.address}", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )

    return run


def write_mix(folder, *requests):
    text = "".join(json.dumps(request) + "\n" for request in requests)
    (folder / "mix.jsonl").write_text(text)


def read_records(folder):
    text = (folder / "records.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_replay_makes_the_pictures_that_a_request_makes(bench, server, tmp_path):
    write_mix(
        tmp_path,
        {"id": "x", "prompt": "a red apple", "seed": 4, "n": 2, "tier": "high"},
        {"id": "y", "prompt": "a blue owl", "seed": 9, "preview_scales": [4]},
    )
    result = bench(
        "--mix=mix.jsonl", "--replay", "--records=records.jsonl", "--json=-",
        f"--admin={server.admin_address}", "--latency_limit=1h",
    )
    assert result.returncode == 0, result.stderr
    x, y = read_records(tmp_path)
    expected = server.generate("a red apple", seed=4, n=2, tier="high")
    assert x["id"] == "x" and x["status"] == "OK" and x["unintended"] == ""
    for image, original in zip(x["images"], expected.images, strict=True):
        assert image["sha256"] == original.sha256
        assert image["seed"] == original.recipe.seed
        assert image["tier"] == "high"
    assert x["peak_held_bytes"] <= x["planned_peak_bytes"] < x["full_cache_bytes"]
    assert y["previews"] == 1 and y["first_preview_seconds"] < y["latency_seconds"]

    figures = json.loads(result.stdout)
    assert figures["server"]["models"][0]["model_sha256"]
    assert figures["server"]["server_version"]
    assert figures["result"]["completed"] == 2 and figures["result"]["images"] == 3
    assert figures["result"]["goodput_images_per_second"] > 0
    assert figures["result"]["first_preview_seconds"]["count"] == 1
    assert figures["result"]["plan_errors"] == 0
    pool = figures["pool"]
    assert pool["plan_error_bytes"] == 0
    assert 0 < pool["high_water_bytes"] <= pool["limit_bytes"]


def test_the_seed_decides_what_is_asked(bench, tmp_path):
    def asked(seed):
        arguments = ("--requests=6", "--tiers=standard,economy", "--guidances=1,3")
        result = bench(*arguments, f"--seed={seed}", "--records=records.jsonl")
        assert result.returncode == 0, result.stderr
        return [
            [(i["prompt"], i["seed"], i["tier"], i["sha256"]) for i in r["images"]]
            for r in read_records(tmp_path)
        ]

    first = asked(1)
    assert first == asked(1) and first != asked(2)
    assert len({image[0][2] for image in first}) == 2, "both tiers are drawn"


def test_an_open_loop_does_not_wait_for_the_server(bench, tmp_path):
    result = bench(
        "--rate=20", "--requests=8", "--tiers=economy", "--guidances=1",
        "--records=records.jsonl",
    )
    assert result.returncode == 0, result.stderr
    records = read_records(tmp_path)
    due = [record["due_seconds"] for record in records]
    assert due == sorted(due) and due[0] > 0
    first_end = min(r["due_seconds"] + r["latency_seconds"] for r in records)
    assert sum(d < first_end for d in due) > 1, "more arrive before one ends"
    assert "latency" in result.stdout and "images/s" in result.stdout


def test_a_duration_ends_a_load(bench):
    result = bench("--duration=2s", "--concurrency=2", "--json=-", "--tiers=economy")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)["result"]
    assert figures["requests"] >= 2 and figures["wall_seconds"] >= 2
    assert figures["completed"] == figures["requests"]


@pytest.mark.parametrize(
    "flag, statuses, counter",
    [
        ("--cancel_share=1", {"CANCELLED"}, "cancelled"),
        ("--vanish_share=1", {"UNAVAILABLE", "CANCELLED"}, "vanished"),
    ],
)
def test_clients_that_leave_give_everything_back(
    bench, server, tmp_path, flag, statuses, counter
):
    result = bench(
        "--requests=12", "--concurrency=6", "--images=1,2", flag,
        "--records=records.jsonl", "--json=figures.json",
    )
    assert result.returncode == 0, result.stderr
    records = read_records(tmp_path)
    assert all(record["has_left"] for record in records)
    assert {record["status"] for record in records} <= statuses | {"OK"}
    assert any(record["status"] in statuses for record in records)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["result"][counter] == 12
    server.await_empty_pool()
    assert server.generate("a red apple", seed=1).images


def test_slow_readers_get_everything(bench, tmp_path):
    result = bench(
        "--requests=4", "--slow_share=1", "--slow_read=20ms", "--slow_pause=500ms",
        "--preview_share=1", "--records=records.jsonl",
    )
    assert result.returncode == 0, result.stderr
    records = read_records(tmp_path)
    assert [record["status"] for record in records] == ["OK"] * 4
    assert all(record["latency_seconds"] > 0.2 for record in records)
    assert "slow readers 4" in result.stdout


def test_refusals_are_counted_and_are_not_intended(bench, start):
    small = start(
        "limits: {max_queued_requests: 1}\nscheduling: {max_running_images: 1}"
    )
    result = bench("--requests=6", "--concurrency=6", "--json=-", at=small)
    assert result.returncode == 1
    assert "did not end as intended" in result.stderr
    figures = json.loads(result.stdout)["result"]
    refused = figures["statuses"]["RESOURCE_EXHAUSTED"]
    assert figures["refused"] == refused and refused >= 1
    assert figures["completed"] == 6 - refused


def test_progress_is_lines_where_there_is_no_terminal(bench):
    result = bench("--requests=1")
    assert result.returncode == 0
    assert re.search(r"1 of 1 requests ended, 0 in flight, 1 images", result.stderr)
    assert "\r" not in result.stderr
    assert bench("--requests=1", "--quiet").stderr == ""


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--mix=absent.jsonl"], "absent.jsonl: cannot be read"),
        (["--mix=mix.jsonl"], 'line 1: unknown key "tear"'),
        (["--cancel_share=0.8", "--slow_share=0.3"], "add up to 1.1"),
        (["--cancel_share=2"], "--cancel_share"),
        (["--replay"], "--mix"),
        (["--slow_read=soon"], "soon"),
    ],
)
def test_a_wrong_command_line_is_exit_2(bench, tmp_path, arguments, words):
    write_mix(tmp_path, {"prompt": "a cat", "tear": "high"})
    result = bench(*arguments)
    assert result.returncode == 2
    assert words in result.stderr


def test_a_reduced_load_check_finds_nothing(programs, model_folder, tmp_path):
    result = subprocess.run(
        [
            sys.executable, ROOT / "tools/load_check.py", f"--bin={programs}",
            f"--model={model_folder}", f"--out={tmp_path}", "--requests=16",
        ],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == LAST_LINE
