"""Starts that fail: each says why in a line, with the right exit status."""

import json
import os
import socket
import struct
import subprocess

import pytest

CONFIGURATION = 1
MODEL = 2


def run(programs, *flags):
    return subprocess.run(
        [programs / "heatkv_server", "--listen=127.0.0.1:0",
         "--metrics_listen=127.0.0.1:0", "--admin_listen=127.0.0.1:0",
         *flags],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def broken(model_folder, tmp_path):
    """A folder of links to the model's files, for a test to break."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in model_folder.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    return folder


def replace(file, data):
    file.unlink()
    file.write_bytes(data)


def without_a_tensor(data, count=1):
    """A safetensors file without its first tensors, and their names."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    gone, out, bytes_ = [], {}, b""
    for name in names:
        entry = dict(header[name])
        if not name.endswith(".int8_scale") and len(gone) < count:
            gone.append(name)
            continue
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = [len(bytes_), len(bytes_) + end - begin]
        bytes_ += body[begin:end]
        out[name] = entry
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes_, gone


def expect_broken_model(programs, folder, *words):
    result = run(programs, f"--model={folder}")
    assert result.returncode == MODEL, result.stderr
    told = [
        line for line in result.stderr.splitlines() if " level=info " not in line
    ]
    assert told[0].startswith("heatkv_server: error: "), result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.mark.parametrize(
    "name",
    ["infinity.safetensors", "vae.safetensors", "text_encoder.safetensors"],
)
def test_a_truncated_weight_file_is_named(programs, broken, name):
    data = (broken / name).read_bytes()
    replace(broken / name, data[: len(data) * 2 // 3])
    expect_broken_model(programs, broken, name)


def test_a_missing_tensor_is_named(programs, broken):
    file = broken / "infinity.safetensors"
    data, gone = without_a_tensor(file.read_bytes())
    replace(file, data)
    expect_broken_model(programs, broken, str(broken), gone[0])


def test_the_weights_of_another_model_are_refused(programs, broken):
    replace(
        broken / "infinity.safetensors", (broken / "vae.safetensors").read_bytes()
    )
    expect_broken_model(programs, broken, str(broken), "transformer")


def test_a_model_yaml_of_another_width_is_refused(programs, broken):
    file = broken / "model.yaml"
    replace(file, file.read_bytes().replace(b"depth: ", b"depth: 1"))
    expect_broken_model(programs, broken, str(broken))


def test_weights_that_the_profile_was_not_measured_on_are_refused(
    programs, broken
):
    profile = json.loads((broken / "profile.json").read_text())
    profile["model_sha256"] = "0" * 64
    replace(broken / "profile.json", json.dumps(profile).encode())
    expect_broken_model(programs, broken, "profile.json", "0" * 64)


@pytest.mark.parametrize(
    "name",
    ["model.yaml", "infinity.safetensors", "tokenizer.model", "profile.json"],
)
def test_a_missing_file_is_named(programs, broken, name):
    (broken / name).unlink()
    expect_broken_model(programs, broken, name)


@pytest.mark.parametrize("name", ["tokenizer.model", "profile.json", "model.yaml"])
def test_a_file_of_garbage_is_named(programs, broken, name):
    replace(broken / name, b"\x07garbage\x00")
    expect_broken_model(programs, broken, name)


def test_every_mistake_of_a_configuration_is_named_with_its_line(
    programs, model_folder, tmp_path
):
    config = tmp_path / "heatkv.yaml"
    config.write_text(
        "listn: 127.0.0.1:1\nthreads: many\ncache:\n  pool: 256\n"
        "tiers: {standard: 2}\n"
    )
    result = run(programs, f"--config={config}", f"--model={model_folder}")
    assert result.returncode == CONFIGURATION
    for where, word in [
        ("1:1", "listn"), ("2:10", "threads"), ("4:9", "pool"),
        ("5:19", "standard"),
    ]:
        assert f"{config}:{where}: " in result.stderr, result.stderr
        assert word in result.stderr


def test_a_budget_below_the_sinks_is_refused_with_both_numbers(
    programs, model_folder, tmp_path
):
    config = tmp_path / "heatkv.yaml"
    config.write_text("tiers: {tiny: 0.01}\ndefault_tier: tiny\n")
    result = run(programs, f"--config={config}", f"--model={model_folder}")
    assert result.returncode == CONFIGURATION
    assert "tiny" in result.stderr and "sink" in result.stderr
    assert "2.74" in result.stderr and "14 tokens" in result.stderr


def test_check_config_says_what_a_configuration_means(
    programs, model_folder, tmp_path
):
    config = tmp_path / "heatkv.yaml"
    config.write_text("cache: {pool: 64 MiB}\n")
    result = run(
        programs, "--check_config", f"--config={config}", f"--model={model_folder}"
    )
    assert result.returncode == 0, result.stderr
    assert "pool: 64 MiB" in result.stdout
    assert "pool 64.0 MiB holds" in result.stdout
    assert "standard images at 128x128" in result.stdout
    # What is printed is a configuration again.
    effective = tmp_path / "effective.yaml"
    effective.write_text(result.stdout.split("\n\n")[0] + "\n")
    again = run(programs, "--check_config", f"--config={effective}")
    assert again.returncode == 0, again.stderr
    assert "pool 64.0 MiB holds" in again.stdout


def test_the_example_configuration_is_good(programs, model_folder):
    example = os.path.join(os.path.dirname(__file__), "../../deploy/heatkv.yaml")
    result = run(
        programs, "--check_config", f"--config={example}", f"--model={model_folder}"
    )
    assert result.returncode == 0, result.stderr


def test_an_address_in_use_is_named(programs, server, model_folder):
    result = subprocess.run(
        [programs / "heatkv_server", f"--model={model_folder}",
         f"--listen={server.address}", "--metrics_listen=127.0.0.1:0",
         "--admin_listen=127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == CONFIGURATION
    assert server.address in result.stderr


def test_the_admin_address_in_use_is_named(programs, server, model_folder):
    result = subprocess.run(
        [programs / "heatkv_server", f"--model={model_folder}",
         "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
         f"--admin_listen={server.admin_address}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == CONFIGURATION
    assert server.admin_address in result.stderr


def test_an_unknown_flag_is_refused(programs):
    assert run(programs, "--bogus").returncode == CONFIGURATION


def test_a_taken_port_of_the_metrics_is_named_with_the_reason(programs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        end = run(programs, f"--metrics_listen={address}")
    assert end.returncode != 0
    assert f"cannot serve metrics at {address}: " in end.stderr
    assert "Address already in use" in end.stderr
