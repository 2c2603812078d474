"""What the server says about memory before it takes any."""

import re
import subprocess

import pytest

PARTS = (
    "transformer", "text encoder", "VAE", "block pool", "remembered prompts",
    "images in flight", "unconditional texts", "staging", "activations",
)


def run(programs, model, config, *flags):
    return subprocess.run(
        [programs / "heatkv_server", f"--config={config}", f"--model={model}",
         "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
         "--admin_listen=127.0.0.1:0", *flags],
        capture_output=True, text=True, timeout=120,
    )


@pytest.fixture
def config(tmp_path):
    def write(text):
        file = tmp_path / "heatkv.yaml"
        file.write_text(text)
        return file

    return write


def test_every_part_is_logged_and_exported(start):
    server = start("cache: {pool: 64 MiB}\n")
    log = server.log.read_text()
    line = next(l for l in log.splitlines() if "event=memory " in l)
    for part in PARTS:
        assert part in line, line
    assert "block pool 64.0 MiB" in line
    needed, available, left = (
        int(re.search(rf"{key}_bytes=(-?\d+)", line)[1])
        for key in ("needed", "available", "left")
    )
    assert available - needed == left > 0
    planned = {
        re.search(r'part="([^"]*)"', name)[1]: value
        for name, value in server.metrics().items()
        if name.startswith("heatkv_memory_planned_bytes")
    }
    assert set(planned) == {*PARTS, "left"}
    assert planned.pop("left") == left and sum(planned.values()) == needed
    assert planned["block pool"] == 64 << 20
    assert "event=memory_once_loaded" in log


def test_what_does_not_fit_is_refused_before_anything_is_loaded(
    programs, model_folder, config
):
    result = run(programs, model_folder, config("cache: {pool: 7 TiB}\n"))
    assert result.returncode == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith("heatkv_server: error: the memory of cpu")
    for part in PARTS:
        assert part in error, error
    assert "block pool 7.0 TiB" in error
    assert re.search(r"\d+ bytes .* are needed, but only \d+ ", error), error
    assert "model_loaded" not in result.stderr


def test_check_config_shows_the_account(programs, model_folder, config):
    result = run(programs, model_folder, config(""), "--check_config")
    assert result.returncode == 0, result.stderr
    line = next(
        l for l in result.stdout.splitlines() if l.startswith("memory of cpu: ")
    )
    for part in PARTS:
        assert part in line, line
    assert re.search(r"; left .* of ", line), line


def test_a_pool_too_small_for_an_image_is_told(start):
    log = start("cache: {pool: 100 KiB}\n").log.read_text()
    warning = next(line for line in log.splitlines() if "small_pool" in line)
    assert "level=warning" in warning and "100.0 KiB" in warning, warning
    assert '128x128 on tier \\"standard\\"' in warning, warning
    log = start("cache: {pool: 8 MiB}\n").log.read_text()
    assert "small_pool" not in log
