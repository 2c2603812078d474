"""What a request would cost, and that it is what it costs."""

import grpc
import pytest

PROMPT = "a yellow bird"


def estimate(server, **fields):
    request = server.api.pb.EstimateImageRequest(
        request=server.request(PROMPT, **fields)
    )
    return server.stub.EstimateImage(request)


def seconds(duration):
    return duration.seconds + duration.nanos * 1e-9


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("tier", ["full", "high", "economy"])
def test_the_bytes_of_every_scale_are_those_that_come(server, tier, guidance):
    said = estimate(server, tier=tier, guidance=guidance)
    events = list(server.stream(PROMPT, seed=1, tier=tier, guidance=guidance))
    accepted = events[0].accepted
    done = [
        e.scale_done for e in events if e.WhichOneof("event") == "scale_done"
    ]
    assert said.tier == tier
    assert said.schedule_sha256 == accepted.schedule_sha256
    assert said.peak_bytes == accepted.peak_bytes
    assert said.full_cache_bytes == accepted.full_cache_bytes
    assert [s.held_bytes for s in said.scales] == [d.held_bytes for d in done]
    assert [(s.grid_height, s.grid_width) for s in said.scales] == [
        (d.grid_height, d.grid_width) for d in done
    ]
    assert max(s.peak_bytes for s in said.scales) == said.peak_bytes
    assert events[-1].completed.usage.peak_cache_bytes == said.peak_bytes


def test_times_are_known_once_something_was_made(start):
    server = start()
    before = estimate(server)
    assert before.admissible_now and not before.reason
    assert not before.HasField("expected_run"), "nothing was measured yet"
    server.generate(PROMPT, seed=1)
    after = estimate(server)
    assert after.HasField("expected_run") and seconds(after.expected_run) > 0
    assert all(s.HasField("expected_time") for s in after.scales)
    assert after.byte_seconds > 0
    many = estimate(server, n=5)
    assert seconds(many.expected_run) > seconds(after.expected_run)


def test_an_estimate_says_why_a_request_would_have_to_wait(start):
    server = start("scheduling: {max_running_images: 1}")
    running = server.stream(PROMPT, n=3)
    while next(running).WhichOneof("event") != "started":
        pass
    said = estimate(server)
    assert not said.admissible_now
    assert said.reason
    assert list(running)[-1].WhichOneof("event") == "completed"


def test_an_estimate_makes_nothing(server):
    before = server.metrics()
    for _ in range(20):
        estimate(server, n=10)
    after = server.metrics()
    made = [name for name in after if name.startswith("heatkv_images_total")]
    assert all(after[name] == before.get(name) for name in made)


def test_an_estimate_is_refused_for_what_the_request_would_be(server):
    with pytest.raises(grpc.RpcError) as caught:
        estimate(server, n=11, tier="platinum")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "platinum" in caught.value.details()
    assert "11" in caught.value.details()
