"""Pictures: that they are pictures, and always the same ones."""

import concurrent.futures
import hashlib
import io

import PIL.Image
import pytest

PROMPT = "a red apple on a blue background"


def decode(data):
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_a_prompt_becomes_a_png_of_the_models_size(server):
    response = server.generate(PROMPT, seed=7)
    (image,) = response.images
    capabilities = server.stub.GetCapabilities(
        server.api.pb.GetCapabilitiesRequest()
    )
    size = capabilities.models[0].sizes[0]
    picture = decode(image.data)
    assert picture.format == "PNG" and picture.mode == "RGB"
    assert picture.size == (size.width, size.height)
    assert (image.width, image.height) == picture.size
    assert image.mime_type == "image/png"
    assert image.sha256 == hashlib.sha256(image.data).hexdigest()
    assert len(set(picture.getdata())) > 100, "a flat picture is no picture"


def test_the_same_recipe_gives_the_same_bytes(server):
    first = server.generate(PROMPT, seed=7).images[0]
    again = server.generate(PROMPT, seed=7).images[0]
    other = server.generate(PROMPT, seed=8).images[0]
    assert first.data == again.data
    assert first.recipe == again.recipe
    assert first.data != other.data


def test_the_same_bytes_after_a_restart(server, start):
    image = server.generate(PROMPT, seed=7).images[0]
    assert start().generate(PROMPT, seed=7).images[0].data == image.data


def test_pictures_made_at_once_are_those_made_one_by_one(server):
    jobs = [
        dict(prompt=f"a cat and {i} dogs", seed=i, tier=tier, guidance=guidance)
        for i, (tier, guidance) in enumerate(
            [("standard", 3.0), ("full", 3.0), ("standard", 1.0), ("high", 2.0),
             ("standard", 3.0), ("economy", 4.0)]
        )
    ]
    alone = [server.generate(**job).images[0].data for job in jobs]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        together = list(
            pool.map(lambda job: server.generate(**job).images[0].data, jobs)
        )
    assert alone == together
    assert len(set(alone)) == len(jobs)


def test_image_i_of_a_request_is_that_of_seed_plus_i(server):
    many = server.generate(PROMPT, seed=20, n=3)
    assert [image.index for image in many.images] == [0, 1, 2]
    for image in many.images:
        one = server.generate(PROMPT, seed=20 + image.index).images[0]
        assert image.data == one.data
        assert image.recipe.seed == 20 + image.index


def test_seeds_are_taken_as_given_and_drawn_if_not(server):
    given = server.generate(PROMPT, seeds=[5, 3])
    assert [image.recipe.seed for image in given.images] == [5, 3]
    drawn = server.generate(PROMPT).images[0]
    assert drawn.data == server.generate(PROMPT, seed=drawn.recipe.seed).images[0].data


def test_the_recipe_and_the_usage_say_what_was_done(server):
    response = server.generate(
        PROMPT, seed=7, tier="high", guidance=2.5, tau=0.75, top_p=0.9
    )
    recipe = response.images[0].recipe
    assert recipe.prompt == PROMPT and recipe.tier == "high"
    assert (recipe.guidance, recipe.tau, recipe.top_p) == (2.5, 0.75, 0.9)
    assert recipe.budget == 0.2
    assert len(recipe.model_sha256) == 64 and len(recipe.schedule_sha256) == 64
    assert recipe.server_version
    usage = response.usage
    assert 0 < usage.peak_cache_bytes < 0.25 * usage.full_cache_bytes
    for stage in (usage.scales, usage.decode, usage.encode, usage.total):
        assert stage.seconds + stage.nanos > 0
    assert response.request_id


def test_each_tier_holds_its_share_of_the_full_cache(server):
    peaks = []
    for tier in ("full", "high", "standard", "economy"):
        usage = server.generate(PROMPT, seed=7, tier=tier).usage
        peaks.append(usage.peak_cache_bytes / usage.full_cache_bytes)
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] >= 1 and peaks[1] < 0.25 and peaks[2] < 0.13


def test_without_guidance_the_cache_is_half(server):
    guided = server.generate(PROMPT, seed=7).usage
    unguided = server.generate(PROMPT, seed=7, guidance=1).usage
    assert unguided.full_cache_bytes * 2 == guided.full_cache_bytes
    assert unguided.peak_cache_bytes < 0.6 * guided.peak_cache_bytes


@pytest.mark.parametrize(
    "name, pil", [("JPEG", "JPEG"), ("WEBP", "WEBP")]
)
def test_other_formats_show_the_same_picture(server, name, pil):
    png = decode(server.generate(PROMPT, seed=7).images[0].data)
    format_ = server.api.pb.ImageFormat.Value(f"IMAGE_FORMAT_{name}")
    image = server.generate(PROMPT, seed=7, format=format_, quality=95).images[0]
    picture = decode(image.data)
    assert picture.format == pil and picture.size == png.size
    difference = sum(
        abs(a - b)
        for p, q in zip(png.getdata(), picture.convert("RGB").getdata())
        for a, b in zip(p, q)
    ) / (3 * png.width * png.height)
    assert difference < 6
    assert image.recipe.quality == 95
