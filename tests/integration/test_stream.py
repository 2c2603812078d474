"""The events of a stream: their order and what they say."""

import io

import PIL.Image

PROMPT = "a blue car"


def kinds(events):
    return [event.WhichOneof("event") for event in events]


def test_the_events_come_in_order_and_add_up(server):
    events = list(server.stream(PROMPT, seed=3, request_id="my-request"))
    names = kinds(events)
    accepted = events[0].accepted
    scales = accepted.scales
    assert names == ["accepted", "started"] + ["scale_done"] * scales + [
        "image",
        "completed",
    ]
    assert [event.sequence for event in events] == list(
        range(1, len(events) + 1)
    )
    offsets = [e.offset.seconds + e.offset.nanos * 1e-9 for e in events]
    assert offsets[0] >= 0 and offsets[-1] > offsets[0]
    assert accepted.request_id == "my-request"
    assert list(accepted.seeds) == [3]
    assert len(accepted.schedule_sha256) == 64
    assert 0 < accepted.peak_bytes < accepted.full_cache_bytes
    started = events[1].started
    assert started.tier == accepted.tier == "standard"
    assert started.schedule_sha256 == accepted.schedule_sha256
    assert started.peak_bytes == accepted.peak_bytes
    done = [event.scale_done for event in events[2 : 2 + scales]]
    assert [d.scale for d in done] == list(range(1, scales + 1))
    assert all(d.held_bytes == d.planned_bytes for d in done)
    assert max(d.held_bytes for d in done) <= accepted.peak_bytes
    assert done[-1].held_bytes == 0, "the last scale is never stored"
    assert all(d.held_bytes > 0 for d in done[:-1])
    assert events[-1].completed.usage.peak_cache_bytes == accepted.peak_bytes


def test_a_stream_and_a_unary_call_give_the_same_bytes(server):
    events = list(server.stream(PROMPT, seed=3))
    (image,) = [e.image for e in events if e.WhichOneof("event") == "image"]
    assert image.data == server.generate(PROMPT, seed=3).images[0].data


def test_previews_come_after_the_scales_asked_for(server):
    previews = server.api.pb.PreviewOptions(scales=[2, 5], max_edge=32)
    events = list(server.stream(PROMPT, seed=3, previews=previews))
    shown = [e.preview for e in events if e.WhichOneof("event") == "preview"]
    # A client that reads slowly may miss one, never the newest.
    assert shown and shown[-1].scale == 5
    assert all(p.scale in (2, 5) for p in shown)
    for preview in shown:
        picture = PIL.Image.open(io.BytesIO(preview.data))
        assert picture.format == "JPEG"
        # The second scale's own 2x2 tokens; the fifth's 6x6, scaled down.
        assert max(picture.size) == {2: 16, 5: 32}[preview.scale]
        assert (preview.width, preview.height) == picture.size
    names = kinds(events)
    assert names.index("preview") < names.index("image")


def test_previews_do_not_change_the_image(server):
    plain = server.generate(PROMPT, seed=3).images[0].data
    previews = server.api.pb.PreviewOptions(every_scale=True)
    events = server.stream(PROMPT, seed=3, previews=previews)
    (image,) = [e.image for e in events if e.WhichOneof("event") == "image"]
    assert image.data == plain


def test_a_request_that_must_wait_is_told_its_position(start):
    server = start("scheduling: {max_running_images: 1}")
    first = server.stream(PROMPT, n=3, seed=1)
    assert next(first).WhichOneof("event") == "accepted"
    assert next(first).WhichOneof("event") == "started"
    second = list(server.stream(PROMPT, seed=2))
    assert kinds(second)[:2] == ["accepted", "queued"]
    positions = [
        e.queued.position for e in second if e.WhichOneof("event") == "queued"
    ]
    # At first the rest of the other request is ahead.
    assert positions == sorted(positions, reverse=True)
    assert positions[0] <= 1 and positions[-1] == 0
    started = [e for e in second if e.WhichOneof("event") == "started"][0]
    assert started.started.queued_for.nanos + started.started.queued_for.seconds > 0
    assert kinds(list(first))[-1] == "completed"


def test_a_silent_stream_sends_signs_of_life(start):
    server = start("scheduling: {max_running_images: 1}\nheartbeat: 20 ms")
    first = server.stream(PROMPT, n=4, seed=1)
    next(first)
    second = list(server.stream(PROMPT, seed=2))
    assert "heartbeat" in kinds(second)
    assert kinds(list(first))[-1] == "completed"
