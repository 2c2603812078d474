"""Tiers: never less than was asked for, unless the client allows it."""

import grpc
import pytest

PROMPT = "a purple house"


def peaks(server):
    """{tier: peak bytes of one guided image of the first size}."""
    capabilities = server.stub.GetCapabilities(
        server.api.pb.GetCapabilitiesRequest()
    )
    tiers = capabilities.models[0].sizes[0].tiers
    return {tier.tier: tier.peak_bytes_guided for tier in tiers}


@pytest.fixture
def tight(server, start):
    """A server whose pool holds an image of tier high, but none of full."""
    size = peaks(server)
    kib = -(-size["high"] // 1024) + 64
    assert kib * 1024 < size["full"]
    return start(f"cache: {{pool: {kib} KiB}}")


def policy(server, tier):
    return server.api.pb.MemoryPolicy(allow_down_to=tier)


def test_without_consent_a_tier_that_never_fits_is_refused(tight):
    with pytest.raises(grpc.RpcError) as caught:
        tight.generate(PROMPT, tier="full")
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_with_consent_the_largest_tier_that_fits_is_granted_and_named(
    server, tight
):
    events = list(
        tight.stream(
            PROMPT, seed=3, tier="full", memory_policy=policy(tight, "economy")
        )
    )
    by_kind = {event.WhichOneof("event"): event for event in events}
    assert by_kind["accepted"].accepted.tier == "full"
    started = by_kind["started"].started
    assert started.tier == "high"
    assert started.peak_bytes == peaks(server)["high"]
    image = by_kind["image"].image
    assert image.recipe.tier == "high"
    asked = server.generate(PROMPT, seed=3, tier="high")
    assert asked.tier == "high"
    assert image.data == asked.images[0].data
    assert image.recipe == asked.images[0].recipe
    assert (
        tight.metrics()[
            'heatkv_requests_total{code="OK",rpc="GenerateImageStream",'
            'tier="high"}'
        ]
        == 1
    )


def test_consent_that_does_not_reach_down_far_enough_is_refused(tight):
    with pytest.raises(grpc.RpcError) as caught:
        tight.generate(
            PROMPT, tier="full", memory_policy=policy(tight, "full")
        )
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_with_room_consent_changes_nothing(server):
    response = server.generate(
        PROMPT, seed=3, tier="full", memory_policy=policy(server, "economy")
    )
    assert response.tier == "full"
    assert response.images[0].recipe.tier == "full"


def test_consent_to_a_larger_tier_is_no_consent(server):
    with pytest.raises(grpc.RpcError) as caught:
        server.generate(
            PROMPT, tier="economy", memory_policy=policy(server, "high")
        )
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "economy" in caught.value.details()
    assert "high" in caught.value.details()
