"""The check that a machine with a GPU runs (tools/server_check.py), on the CPU."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(programs, out, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "tools/server_check.py", "--bin", programs,
         "--out", out, "--images", "2", "--requests", "1", *arguments],
        capture_output=True, text=True, cwd=ROOT)


def test_measures_a_server_from_the_client_and_compares_bytes(
        programs, model_folder, tmp_path):
    done = run(programs, tmp_path, "--model", model_folder)
    assert done.returncode == 0, done.stderr
    assert "identical bytes alone and in company: yes" in done.stdout
    result = json.loads((tmp_path / "server.json").read_text())
    assert result["health"] == result["health_afterwards"] == "SERVING"
    assert result["in_flight"]["images"] == 6
    assert result["one_after_the_other"]["seconds_per_image"] > 0
    assert any("heatkv_memory_planned_bytes" in name for name in result["metrics"])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "ready" in (tmp_path / "server.log").read_text()


def test_says_why_a_server_did_not_start(programs, tmp_path):
    done = run(programs, tmp_path, "--model", "no-such-model")
    assert done.returncode == 1
    assert "no-such-model" in done.stderr
