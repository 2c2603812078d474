"""`heatkv bench` with a server that it starts, and stops, itself."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from server_process import poll

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = pathlib.Path(__file__).parent / "tiny"


@pytest.fixture
def bench(programs):
    def run(*arguments, program="heatkv"):
        return subprocess.run(
            [programs / program, "bench", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
        )

    return run


def servers_of(word):
    """The processes, but for dead ones, that have `word` in their arguments."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        program = line.split(b"\0")[0]
        if program.endswith(b"heatkv_server") and str(word).encode() in line:
            if state not in "ZX":
                found.append(int(folder.name))
    return found


@pytest.fixture
def config(tmp_path):
    """An empty configuration; its name tells our servers from others."""
    file = tmp_path / "heatkv.yaml"
    file.write_text("cache: {pool: 8 MiB}\n")
    return file


def test_a_load_starts_a_server_and_stops_it(bench, model_folder, config):
    result = bench(
        f"--model={model_folder}", "--device=cpu", f"--config={config}",
        "--requests=2", "--tiers=economy", "--guidances=1", "--json=-",
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    own = figures["own_server"]
    assert own["model"] == str(model_folder) and own["device"] == "cpu"
    assert own["random_weights"] is None and own["start_seconds"] > 0
    assert own["config"] == str(config)
    assert pathlib.Path(own["program"]).name == "heatkv_server"
    assert len(figures["server"]["models"][0]["model_sha256"]) == 64
    assert figures["server"]["limits"]["pool_bytes"] == str(8 << 20)
    assert figures["result"]["completed"] == 2
    assert figures["pool"]["plan_error_bytes"] == 0
    assert figures["pool"]["high_water_bytes"] > 0
    starting, ready = result.stderr.splitlines()[:2]
    assert starting == "starting a server" and "ready at 127.0.0.1:" in ready
    assert servers_of(config) == []


def test_random_weights_are_passed_on(bench, tmp_path):
    config = tmp_path / "heatkv.yaml"
    config.write_text("tiers: {standard: 0.5, full: 1}\n")
    result = bench(
        f"--model={TINY}", "--random-weights", "18446744073709551615",
        "--tokenizer=models/default", f"--config={config}", "--pool=4 MiB",
        "--requests=2", "--json=-", "--quiet",
    )
    assert result.returncode == 0 and result.stderr == "", result.stderr
    figures = json.loads(result.stdout)
    assert figures["pool"]["limit_bytes"] == 4 << 20
    weights = figures["server"]["models"][0]["model_sha256"]
    assert weights == "random, seed 18446744073709551615"
    own = figures["own_server"]
    assert own["random_weights"] == 18446744073709551615
    assert own["tokenizer"] == "models/default" and own["device"] == "cpu"
    assert servers_of(config) == []


def test_a_configuration_alone_says_what_is_started(bench, config):
    config.write_text(
        f"model: {TINY}\nrandom_weights: 3\ntokenizer: models/default\n"
        "cache: {pool: 4 MiB}\ntiers: {standard: 0.5, full: 1}\n"
    )
    result = bench(f"--config={config}", "--requests=1", "--json=-")
    assert result.returncode == 0, result.stderr
    own = json.loads(result.stdout)["own_server"]
    assert own["model"] == str(TINY) and own["random_weights"] == 3


def test_what_a_server_that_does_not_start_says_is_passed_on(bench, tmp_path):
    absent = tmp_path / "absent"
    result = bench(f"--model={absent}")
    assert result.returncode == 3 and result.stdout == ""
    assert "heatkv_server ended with exit status 2:\n" in result.stderr
    error = f"heatkv_server: error: {absent}/model.yaml: cannot be read"
    assert error in result.stderr.splitlines()
    assert servers_of(tmp_path) == []
    seed = bench(f"--model={TINY}", "--random_weights=many")
    assert seed.returncode == 3 and "exit status 1" in seed.stderr
    assert '--random_weights must be none or a seed' in seed.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--server=localhost:1"], "--server names a server that runs"),
        (["--admin=localhost:1"], "--admin names a server that runs"),
        (["--server_program=no/where"], "there is no program no/where"),
        (["--server_program=README.md"], "README.md: cannot be run"),
        (["--cancel_share=0.8", "--slow_share=0.3"], "add up to 1.1"),
    ],
)
def test_a_wrong_command_line_starts_nothing(bench, config, arguments, words):
    result = bench(f"--config={config}", *arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert servers_of(config) == []


def test_a_program_without_a_server_beside_it_says_so(programs, tmp_path):
    alone = tmp_path / "heatkv"
    alone.write_bytes((programs / "heatkv").read_bytes())
    alone.chmod(0o755)
    result = subprocess.run(
        [alone, "bench", "--model=models/default"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert f"there is no program {tmp_path}/heatkv_server" in result.stderr
    assert "--server_program" in result.stderr


@pytest.fixture
def running(programs, model_folder, config):
    """A load without end, once its server is there."""
    process = subprocess.Popen(
        [
            programs / "heatkv", "bench", f"--model={model_folder}",
            f"--config={config}", "--duration=10m", "--tiers=economy",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("code", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["starting a server", "ready at"])
def test_a_signal_stops_the_server_too(running, config, code, when):
    while when not in running.stderr.readline():
        assert running.poll() is None
    poll(lambda: servers_of(config), what="a server")
    running.send_signal(code)
    out, err = running.communicate(timeout=60)
    assert running.returncode == -code
    assert out == "" and "not as intended" not in err
    assert "interrupted; its server was stopped" in err
    assert servers_of(config) == []


def test_a_server_does_not_outlive_a_client_that_is_killed(running, config):
    while "ready at" not in running.stderr.readline():
        assert running.poll() is None
    assert servers_of(config)
    running.kill()
    poll(lambda: not servers_of(config), what="the server's end")


def test_a_server_that_is_killed_during_the_load_is_named(running, config):
    while "ready at" not in running.stderr.readline():
        assert running.poll() is None
    (server,) = servers_of(config)
    os.kill(server, signal.SIGKILL)
    out, err = running.communicate(timeout=60)  # long before the load's end
    assert running.returncode == 3 and out == ""
    assert "heatkv_server ended with signal 9 (Killed):" in err
