"""The heatkv program against a real server."""

import hashlib
import json
import subprocess

import PIL.Image
import pytest

PROMPT = "a red apple on a blue background"


@pytest.fixture
def heatkv(programs, server, tmp_path):
    def run(*arguments, address=server.address, environment=None):
        return subprocess.run(
            [programs / "heatkv", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env=environment or {"HEATKV_SERVER": address},
        )

    return run


def test_generate_writes_the_picture_and_shows_progress(heatkv, server, tmp_path):
    result = heatkv("generate", PROMPT, "--seed", "7", "--out", "apple.png")
    assert result.returncode == 0, result.stderr
    data = (tmp_path / "apple.png").read_bytes()
    assert data == server.generate(PROMPT, seed=7).images[0].data
    assert result.stdout == "apple.png\n"
    assert "scale 1 of 8" in result.stderr and "scale 8 of 8" in result.stderr
    assert "cache" in result.stderr
    assert "\r" not in result.stderr, "no terminal, no drawing over"


def test_the_server_can_be_named_by_a_flag(heatkv, server, tmp_path):
    result = heatkv(
        "generate", PROMPT, "--server", server.address, "--out", "a.webp",
        "--quiet", address="127.0.0.1:1",
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == "" and result.stdout == ""
    assert PIL.Image.open(tmp_path / "a.webp").format == "WEBP"


def test_json_gives_the_recipe_and_the_usage(heatkv, tmp_path):
    result = heatkv(
        "generate", PROMPT, "--seeds", "4,9", "--tier", "high", "--guidance", "2",
        "--out", "x.png", "--json",
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert [image["file"] for image in answer["images"]] == ["x-1.png", "x-2.png"]
    assert [image["recipe"]["seed"] for image in answer["images"]] == [4, 9]
    for image in answer["images"]:
        data = (tmp_path / image["file"]).read_bytes()
        assert image["sha256"] == hashlib.sha256(data).hexdigest()
        assert image["recipe"]["tier"] == "high"
        assert image["recipe"]["guidance"] == 2
    usage = answer["usage"]
    assert 0 < usage["peak_cache_bytes"] < usage["full_cache_bytes"]


def test_previews_are_written_beside_the_picture(heatkv, tmp_path):
    result = heatkv(
        "generate", PROMPT, "--preview_scales", "3,6", "--preview_edge", "64",
        "--out", "p.png",
    )
    assert result.returncode == 0, result.stderr
    preview = PIL.Image.open(tmp_path / "p.scale-6.jpg")
    assert max(preview.size) == 64


def test_a_batch_makes_every_picture(heatkv, server, tmp_path):
    lines = [
        {"id": f"item-{i}", "prompt": f"a cat number {i}", "seed": i}
        for i in range(5)
    ]
    (tmp_path / "batch.jsonl").write_text(
        "\n".join(json.dumps(line) for line in lines) + "\n"
    )
    result = heatkv(
        "generate", "--batch", "batch.jsonl", "--out_dir", "out/pictures",
        "--parallel", "3", "--json",
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5
    for line in lines:
        data = (tmp_path / f"out/pictures/{line['id']}.png").read_bytes()
        expected = server.generate(line["prompt"], seed=line["seed"])
        assert data == expected.images[0].data


def test_a_batch_waits_when_the_queue_is_full(heatkv, start, tmp_path):
    small = start("scheduling: {max_running_images: 1}\nlimits: {max_queued_requests: 1}")
    (tmp_path / "batch.jsonl").write_text(
        "\n".join(json.dumps({"id": str(i), "prompt": "a cat"}) for i in range(5))
    )
    result = heatkv(
        "generate", "--batch", "batch.jsonl", "--out_dir", "o", "--parallel", "5",
        address=small.address,
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "o").iterdir())) == 5


def test_a_bad_batch_is_refused_line_by_line(heatkv, tmp_path):
    (tmp_path / "batch.jsonl").write_text(
        'nonsense\n{"id": "../x", "prompt": "a"}\n{"id": "y"}\n'
        '{"id": "z", "prompt": "a", "sed": 1}\n'
    )
    result = heatkv("generate", "--batch", "batch.jsonl", "--out_dir", "o")
    assert result.returncode == 2
    for number in (1, 2, 3, 4):
        assert f"line {number}: " in result.stderr


def test_a_refusal_lists_every_violation(heatkv, tmp_path):
    result = heatkv("generate", PROMPT, "--tier", "gold", "--n", "11")
    assert result.returncode == 1
    assert "tier:" in result.stderr and "n:" in result.stderr
    assert not list(tmp_path.glob("*.png"))


def test_an_absent_server_is_explained(heatkv):
    result = heatkv("generate", PROMPT, address="127.0.0.1:1")
    assert result.returncode == 3
    assert "127.0.0.1:1" in result.stderr and "HEATKV_SERVER" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate"],
        ["generate", "a cat", "--bogus"],
        ["generate", "a cat", "--out", "cat.bmp"],
        ["generate", "--batch", "absent.jsonl", "--out_dir", "o"],
        ["generate", "--batch", "absent.jsonl"],
        [],
    ],
)
def test_a_wrong_command_line_is_exit_2(heatkv, arguments):
    assert heatkv(*arguments).returncode == 2


def test_an_unwritable_file_is_named(heatkv):
    result = heatkv("generate", PROMPT, "--out", "no/such/folder/a.png")
    assert result.returncode == 1
    assert "no/such/folder/a.png" in result.stderr


def test_capabilities_as_text_and_as_json(heatkv):
    text = heatkv("capabilities")
    assert text.returncode == 0 and "standard" in text.stdout
    answer = json.loads(heatkv("capabilities", "--json").stdout)
    assert answer["models"][0]["sizes"][0]["width"] == 128
