"""Requests that are refused, and what the refusal says."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


def refusal(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def details_of(error, kind):
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    found = []
    for any_ in status.details:
        message = kind()
        if any_.Unpack(message):
            found.append(message)
    return found


def violations(server, streams=False, **fields):
    fields.setdefault("prompt", "a cat")
    call = (
        (lambda: list(server.stream(**fields)))
        if streams
        else (lambda: server.generate(**fields))
    )
    error = refusal(call)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    (bad,) = details_of(error, error_details_pb2.BadRequest)
    return {v.field: v.description for v in bad.field_violations}


def test_every_violation_is_listed_at_once(server):
    size = server.api.pb.ImageSize
    found = violations(
        server,
        prompt="",
        negative_prompt="blurry",
        model="another",
        n=11,
        size=size(aspect="9:9"),
        guidance=-1,
        tau=0,
        top_p=1.5,
        tier="platinum",
        quality=50,
        request_id="with space",
        tenant="t" * 65,
        priority=77,
        memory_policy=server.api.pb.MemoryPolicy(allow_down_to="tin"),
    )
    assert set(found) == {
        "tenant", "priority", "memory_policy.allow_down_to",
        "prompt", "negative_prompt", "model", "n", "size", "guidance", "tau",
        "top_p", "tier", "quality", "request_id",
    }
    assert "standard" in found["tier"] and "platinum" in found["tier"]
    assert "1:1" in found["size"]
    assert "11" in found["n"] and "10" in found["n"]


@pytest.mark.parametrize("streams", [False, True])
def test_a_stream_is_judged_like_a_unary_call(server, streams):
    assert set(violations(server, streams, prompt="", n=99)) == {"prompt", "n"}


def test_a_prompt_of_too_many_tokens_is_refused_with_both_numbers(server):
    text = violations(server, prompt="cat " * 500)["prompt"]
    limit = server.stub.GetCapabilities(
        server.api.pb.GetCapabilitiesRequest()
    ).models[0].max_prompt_tokens
    assert str(limit) in text and "tokens" in text


def test_a_prompt_of_too_many_bytes_is_refused_with_both_numbers(server):
    text = violations(server, prompt="x" * 5000)["prompt"]
    assert "5000" in text and "4096" in text


def test_sizes_must_be_the_models_own(server):
    size = server.api.pb.ImageSize
    assert "both or neither" in violations(server, size=size(width=128))["size"]
    assert "100x100" in violations(server, size=size(width=100, height=100))["size"]
    assert set(violations(server, size=size(pixel_class="8M"))) == {"size"}
    assert set(
        violations(server, size=size(aspect="2:1", width=128, height=128))
    ) == {"size"}


def test_seeds_must_fit_the_number_of_images(server):
    assert set(violations(server, seeds=[1, 2], n=3)) == {"seeds"}
    assert set(violations(server, seeds=[1], seed=1)) == {"seeds"}


def test_previews_belong_to_streams_and_to_scales(server):
    previews = server.api.pb.PreviewOptions
    assert set(violations(server, previews=previews(every_scale=True))) == {
        "previews"
    }
    assert set(
        violations(server, streams=True, previews=previews(scales=[0, 99]))
    ) == {"previews.scales"}


def test_what_can_never_fit_is_refused_with_both_numbers(start):
    server = start("cache: {pool: 64 KiB}")
    error = refusal(lambda: server.generate("a cat", tier="full"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "65536" in error.details() and "peak" in error.details()


def test_a_full_queue_refuses_and_says_when_to_try_again(start):
    # The rest of the running request waits as well.
    server = start(
        "scheduling: {max_running_images: 1}\nlimits: {max_queued_requests: 2}"
    )
    running = server.stream("a cat", n=3)
    while next(running).WhichOneof("event") != "started":
        pass
    waiting = server.stream("a dog")
    next(waiting)
    error = refusal(lambda: server.generate("a bird"))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    (retry,) = details_of(error, error_details_pb2.RetryInfo)
    assert retry.retry_delay.seconds >= 1
    assert list(waiting)[-1].WhichOneof("event") == "completed"
    assert list(running)[-1].WhichOneof("event") == "completed"
