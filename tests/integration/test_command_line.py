"""The heatkv program against a real server."""

import hashlib
import json
import re
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


def test_a_lower_tier_by_consent_is_named(heatkv, start, tmp_path):
    # Room for the sinks and little more: a full cache can never fit.
    small = start("cache: {pool: 3 MiB}")
    arguments = ["generate", PROMPT, "--seed", "7", "--tier", "full", "--out", "a.png"]
    refused = heatkv(*arguments, address=small.address)
    assert refused.returncode == 1 and "FAILED_PRECONDITION" in refused.stderr
    granted = heatkv(
        *arguments, "--allow_down_to", "standard", "--priority", "high",
        "--tenant", "studio", address=small.address,
    )
    assert granted.returncode == 0, granted.stderr
    tier = re.search(r"granted tier (\w+) \(asked for full\)", granted.stderr).group(1)
    assert tier in ("high", "standard")
    same = heatkv(
        "generate", PROMPT, "--seed", "7", "--tier", tier, "--out", "b.png",
        address=small.address,
    )
    assert same.returncode == 0, same.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_estimate_as_text_and_as_json(heatkv):
    text = heatkv("estimate", PROMPT, "--tier", "high")
    assert text.returncode == 0, text.stderr
    assert "16x16" in text.stdout and "tier high" in text.stdout
    answer = json.loads(heatkv("estimate", PROMPT, "--tier", "high", "--json").stdout)
    assert len(answer["scales"]) == 8
    peaks = [int(scale["peak_bytes"]) for scale in answer["scales"]]
    assert max(peaks) == int(answer["peak_bytes"])
    made = heatkv("generate", PROMPT, "--tier", "high", "--json", "--out", "e.png")
    usage = json.loads(made.stdout)["usage"]
    assert usage["peak_cache_bytes"] == int(answer["peak_bytes"])
    wrong = heatkv("estimate", PROMPT, "--tier", "gold")
    assert wrong.returncode == 1 and "tier:" in wrong.stderr


def test_a_job_from_its_start_to_its_pictures(heatkv, server, tmp_path):
    submit = ["job", "submit", PROMPT, "--seeds", "4,9", "--key", "one"]
    job = heatkv(*submit).stdout.strip()
    assert job and heatkv(*submit).stdout.strip() == job, "the same key, the same job"
    watched = heatkv("job", "watch", job, "--out", "w.png")
    assert watched.returncode == 0, watched.stderr
    assert watched.stdout.splitlines() == ["w-1.png", "w-2.png"]
    assert "scale 8 of 8" in watched.stderr
    shown = heatkv("job", "get", job, "--out", "g.png")
    assert shown.returncode == 0, shown.stderr
    assert "succeeded, 2 of 2 images" in shown.stdout
    expected = server.generate(PROMPT, seeds=[4, 9])
    for i, image in enumerate(expected.images, 1):
        assert (tmp_path / f"w-{i}.png").read_bytes() == image.data
        assert (tmp_path / f"g-{i}.png").read_bytes() == image.data


def test_a_cancelled_job_says_so(heatkv):
    job = heatkv("job", "submit", PROMPT, "--n", "10").stdout.strip()
    assert heatkv("job", "cancel", job).returncode == 0
    watched = heatkv("job", "watch", job, "--quiet")
    assert watched.returncode == 1 and "CANCELLED" in watched.stderr
    answer = json.loads(heatkv("job", "get", job, "--json").stdout)
    assert answer["state"] == "JOB_STATE_CANCELLED"
    absent = heatkv("job", "get", "no-such-job")
    assert absent.returncode == 1 and "NOT_FOUND" in absent.stderr


def test_the_operators_commands(heatkv, server, tmp_path):
    def admin(*arguments):
        result = heatkv("admin", f"--admin={server.admin_address}", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    heatkv("generate", PROMPT, "--request_id", "seen", "--out", "o.png")
    pool = admin("pool", "--per_head")
    assert "pool 0 B of 256.0 MiB used" in pool and "layer   7 [" in pool
    view = json.loads(admin("pool", "--json"))
    assert int(view["used_bytes"]) == 0 and int(view["high_water_bytes"]) > 0

    requests = admin("requests", "--limit", "1000")
    assert re.search(r"GenerateImageStream +seen .* 1/1 .*OK", requests)
    newest = json.loads(admin("requests", "--limit", "1", "--json"))["requests"]
    assert [one["request_id"] for one in newest] == ["seen"]

    assert "was info" in admin("log-level", "warning")
    assert "was warning" in admin("log-level", "info")

    assert "draining" in admin("drain")
    refused = heatkv("generate", PROMPT, "--out", "r.png")
    assert refused.returncode == 3 and "UNAVAILABLE" in refused.stderr
    assert "draining" in admin("pool")
    assert "taken again" in admin("undrain")
    assert heatkv("generate", PROMPT, "--out", "r.png").returncode == 0


def test_a_configuration_is_tried_and_applied(heatkv, start, tmp_path):
    one = start("tiers: {full: 1.0, standard: 0.1}")

    def apply(text, *flags):
        (tmp_path / "new.yaml").write_text(text)
        return heatkv(
            "admin", "apply", "new.yaml", *flags,
            environment={"HEATKV_ADMIN": one.admin_address},
        )

    changed = "tiers: {full: 1.0, standard: 0.1}\nscheduling: {policy: preview}"
    tried = apply(changed, "--dry_run")
    assert tried.returncode == 0, tried.stderr
    assert "latency -> preview" in tried.stdout and "not applied" in tried.stdout
    applied = apply(changed)
    assert applied.stdout.splitlines()[-1] == "applied", applied.stderr
    assert "nothing changes" in apply(changed).stdout
    wrong = apply("scheduling: {policy: random}")
    assert wrong.returncode == 1 and "INVALID_ARGUMENT" in wrong.stderr


def test_the_pool_can_be_watched(programs, server):
    watch = subprocess.Popen(
        [
            programs / "heatkv", "admin", "pool", "--watch", "--interval=100ms",
            "--json", f"--admin={server.admin_address}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    times = [json.loads(watch.stdout.readline())["time"] for _ in range(3)]
    watch.kill()
    watch.communicate()
    assert len(set(times)) == 3


def test_an_absent_operators_port_is_explained(heatkv):
    result = heatkv("admin", "pool", environment={"HEATKV_ADMIN": "127.0.0.1:1"})
    assert result.returncode == 3
    assert "127.0.0.1:1" in result.stderr and "HEATKV_ADMIN" in result.stderr
