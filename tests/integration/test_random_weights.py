"""A model description without weights, served on weights drawn from a seed."""

import pathlib
import subprocess

import pytest

TINY = pathlib.Path(__file__).parent / "tiny"
TOKENIZER = "models/default"  # tests run in the repository's root
CONFIG = "cache: {pool: 4 MiB}\ntiers: {standard: 0.5, full: 1}\n"


def serve(start, seed, config=CONFIG, tokenizer=TOKENIZER):
    return start(
        config, f"--random-weights={seed}", f"--tokenizer={tokenizer}", model=TINY
    )


def picture(server, **fields):
    return server.generate("a red fox", **fields).images[0]


def test_same_seed_same_picture_other_weights_other_picture(start):
    first, again, other = serve(start, 1), serve(start, 1), serve(start, 2)
    one = picture(first, seed=7)
    assert (one.width, one.height) == (32, 32) and one.data[:4] == b"\x89PNG"
    assert picture(first, seed=7).data == one.data
    assert picture(again, seed=7).data == one.data
    assert picture(first, seed=8).data != one.data
    assert picture(other, seed=7).data != one.data


def test_everything_that_names_the_weights_says_that_they_are_random(start):
    server = serve(start, 18446744073709551615)
    weights = "random, seed 18446744073709551615"
    recipe = picture(server).recipe
    assert recipe.model == "tiny" and recipe.model_sha256 == weights
    answer = server.stub.GetCapabilities(server.api.pb.GetCapabilitiesRequest())
    assert answer.models[0].model_sha256 == weights
    assert any(
        name.startswith("heatkv_build_info{") and f'weights="{weights}"' in name
        for name in server.metrics()
    )
    log = server.log.read_text()
    assert f'event=model_loaded model=tiny weights="{weights}"' in log
    assert "level=warning event=random_weights" in log


def test_a_server_on_files_names_their_hash(server):
    recipe = picture(server).recipe
    assert len(recipe.model_sha256) == 64
    assert any(
        f'weights="{recipe.model_sha256}"' in name for name in server.metrics()
    )


def test_every_tier_prunes_by_a_ranking_that_is_drawn(start):
    server = serve(start, 1)
    costs = {
        cost.tier: cost
        for cost in server.stub.GetCapabilities(
            server.api.pb.GetCapabilitiesRequest()
        ).models[0].sizes[0].tiers
    }
    assert (
        costs["standard"].peak_bytes_guided < costs["full"].peak_bytes_guided
    )
    again = serve(start, 1).generate("a red fox", tier="standard").images[0]
    assert again.recipe.schedule_sha256 == costs["standard"].schedule_sha256


def test_the_seed_may_stand_in_the_configuration(start):
    config = f"{CONFIG}random_weights: 3\ntokenizer: {TOKENIZER}/tokenizer.model\n"
    server = start(config, model=TINY)
    assert picture(server).recipe.model_sha256 == "random, seed 3"


def run(programs, *flags):
    return subprocess.run(
        [programs / "heatkv_server", "--listen=127.0.0.1:0",
         "--metrics_listen=127.0.0.1:0", "--admin_listen=127.0.0.1:0", *flags],
        capture_output=True, text=True, timeout=120,
    )


def test_a_missing_tokenizer_is_named_with_what_to_do(programs, tmp_path):
    config = tmp_path / "heatkv.yaml"
    config.write_text(CONFIG)
    tiny = (f"--config={config}", f"--model={TINY}")
    result = run(programs, *tiny, "--random-weights", "1")
    assert result.returncode == 2, result.stderr
    for word in ("tokenizer.model", str(TINY), "--tokenizer", "models/default"):
        assert word in result.stderr, result.stderr
    elsewhere = run(
        programs, *tiny, "--random-weights=1", "--tokenizer=nowhere"
    )
    assert elsewhere.returncode == 2 and "nowhere" in elsewhere.stderr


def test_a_text_encoder_on_the_cpu_beside_the_model_changes_no_byte(start):
    picture_here = picture(serve(start, 1), seed=7).data
    there = serve(start, 1, config=CONFIG + "text_encoder: cpu\n")
    assert picture(there, seed=7).data == picture_here


@pytest.mark.parametrize("seed", ["-1", "many", "1.5"])
def test_what_is_no_seed_is_refused(programs, seed):
    result = run(programs, f"--model={TINY}", f"--random-weights={seed}")
    assert result.returncode == 1
    assert "--random_weights" in result.stderr and seed in result.stderr


def test_a_shipped_description_is_found_by_its_name(programs):
    result = run(
        programs, "--model=infinity-2b", "--random-weights=1",
        f"--tokenizer={TOKENIZER}", "--pool=4 GiB", "--check_config",
    )
    assert result.returncode == 0, result.stderr
    assert "standard images at 1024x1024" in result.stdout
    assert 'model: "infinity-2b"' in result.stdout
    assert "random_weights: 1" in result.stdout


def test_a_device_that_is_not_there_is_named(programs):
    result = run(
        programs, f"--model={TINY}", "--random-weights=1", "--device=cuda:63"
    )
    assert result.returncode == 1 and "cuda:63" in result.stderr
