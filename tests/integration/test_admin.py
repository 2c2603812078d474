"""The operator's interface: views of the pool, draining, live configuration."""

import concurrent.futures
import re
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server_process import poll

PROMPT = "a red fish"
MIB = 1 << 20


def view(server, per_head=False):
    return server.admin.GetPool(
        server.api.admin_pb.GetPoolRequest(per_head=per_head)
    )


def apply(server, yaml, dry_run=False):
    """Applies `yaml` beside what the server was started with."""
    request = server.api.admin_pb.ApplyConfigRequest(yaml=yaml, dry_run=dry_run)
    return server.admin.ApplyConfig(request)


def refusal(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def status(channel, service):
    check = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(check).status


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_view_names_every_image_and_every_byte_it_holds(server):
    stream = server.stream(
        PROMPT, n=8, tier="high", request_id="look-at-me", tenant="studio"
    )
    seen = poll(
        lambda: (lambda v: v if v.used_bytes else None)(view(server, True)),
        what="an image in flight",
    )
    assert sum(seen.head_bytes) == seen.used_bytes
    assert len(seen.head_bytes) == seen.layers * seen.heads
    assert seen.plan_error_bytes == 0
    assert seen.used_bytes <= seen.effective_limit_bytes == seen.limit_bytes
    assert sum(image.held_bytes for image in seen.images) == seen.used_bytes
    for image in seen.images:
        assert image.request_id == "look-at-me" and image.tenant == "studio"
        assert image.tier == "high"
        assert sum(image.head_bytes) == image.held_bytes <= image.peak_bytes
        assert 0 <= image.scales_done < image.scales
    assert list(stream)[-1].WhichOneof("event") == "completed"
    server.await_empty_pool()
    assert not view(server).images


def test_a_watch_goes_on_and_a_slow_reader_gets_no_old_views(server):
    request = server.api.admin_pb.WatchPoolRequest(per_head=True)
    request.interval.FromMilliseconds(100)
    watch = server.admin.WatchPool(request)
    first = next(watch)
    time.sleep(2)
    # Small views all fit what lies between server and reader; they come in
    # their order and none is lost or repeated.
    times = [next(watch).time.ToNanoseconds() for _ in range(25)]
    assert first.time.ToNanoseconds() < times[0]
    assert all(a < b for a, b in zip(times, times[1:]))
    watch.cancel()
    assert refusal(lambda: list(watch)).code() == grpc.StatusCode.CANCELLED


def test_a_watch_that_is_too_fast_is_refused(server):
    request = server.api.admin_pb.WatchPoolRequest()
    request.interval.FromMilliseconds(1)
    error = refusal(lambda: list(server.admin.WatchPool(request)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_draining_finishes_what_runs_and_can_be_taken_back(start):
    server = start("scheduling: {max_running_images: 1}")
    pb = server.api.admin_pb
    stream = server.stream(PROMPT, n=4)
    next(stream)
    server.admin.Drain(pb.DrainRequest())
    for channel in (server.channel, server.admin_channel):
        assert status(channel, "heatkv.v1.ImageGeneration") == NOT_SERVING
    assert status(server.channel, "") == NOT_SERVING
    assert status(server.admin_channel, "") == SERVING
    assert status(server.admin_channel, "heatkv.v1.Admin") == SERVING
    assert view(server).draining
    assert server.metrics()["heatkv_draining"] == 1
    error = refusal(lambda: server.generate(PROMPT))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "until it is undrained" in error.details()
    assert list(stream)[-1].WhichOneof("event") == "completed"
    assert server.metrics()['heatkv_refusals_total{reason="draining"}'] == 1
    server.admin.Undrain(pb.UndrainRequest())
    for channel in (server.channel, server.admin_channel):
        assert status(channel, "heatkv.v1.ImageGeneration") == SERVING
    assert server.generate(PROMPT).images
    assert "event=not_serving reason=drain" in server.log.read_text()


def test_a_device_that_fails_for_good_shows_in_health_until_it_is_back(
    start, tmp_path
):
    broken = tmp_path / "broken"
    server = start(
        "", f"--broken_while={broken}", program="heatkv_fake_server"
    )
    assert server.generate(PROMPT).images
    assert server.metrics()["heatkv_model_up"] == 1
    broken.touch()
    error = refusal(lambda: server.generate("another prompt"))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "the device is gone" in error.details()
    for channel in (server.channel, server.admin_channel):
        assert status(channel, "heatkv.v1.ImageGeneration") == NOT_SERVING
    assert status(server.channel, "") == NOT_SERVING
    error = refusal(lambda: server.generate(PROMPT))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "the model cannot compute" in error.details()
    metrics = server.metrics()
    assert metrics["heatkv_model_up"] == 0
    assert metrics['heatkv_refusals_total{reason="model_unwell"}'] == 1
    broken.unlink()
    poll(lambda: status(server.channel, "") == SERVING)
    assert server.generate(PROMPT).images
    log = server.log.read_text()
    assert 'reason="the model cannot compute: the device is gone"' in log
    assert 'reason="the model computes again"' in log


def test_a_server_that_was_told_to_stop_cannot_be_undrained(start):
    server = start("scheduling: {max_running_images: 1}")
    stream = server.stream(PROMPT, n=6)
    next(stream)
    server.terminate()
    poll(lambda: "event=draining" in server.log.read_text())
    poll(lambda: view(server).draining)
    error = refusal(
        lambda: server.admin.Undrain(server.api.admin_pb.UndrainRequest())
    )
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert list(stream)[-1].WhichOneof("event") == "completed"
    assert server.await_exit() == 0


def test_a_smaller_pool_takes_effect_as_blocks_come_back(start):
    config = "cache: {pool: %d MiB}\nscheduling: {policy: preview}\n"
    server = start(config % 64)
    seeds = list(range(10))

    def picture(seed):
        (image,) = server.generate(PROMPT, seed=seed, tier="high").images
        return image.data

    alone = [picture(seed) for seed in seeds]
    small = 4 * MIB
    with concurrent.futures.ThreadPoolExecutor(len(seeds)) as pool:
        together = [pool.submit(picture, seed) for seed in seeds]
        poll(lambda: view(server).used_bytes > small, what="a full pool")
        answer = apply(server, config % 4)
        assert answer.applied
        assert [(c.key, c.before, c.after) for c in answer.changes] == [
            ("cache.pool", "64 MiB", "4 MiB")
        ]
        assert "pool 4.0 MiB holds 1 high images" in answer.capacity
        after = view(server)
        assert after.limit_bytes <= small
        # What runs may finish: it is not interrupted for the new limit.
        assert after.effective_limit_bytes >= after.used_bytes
        assert after.effective_limit_bytes > after.limit_bytes
        assert [future.result(timeout=120) for future in together] == alone
    server.await_empty_pool()
    settled = server.metrics()
    limit = settled['heatkv_kv_pool_limit_bytes{gpu="0"}']
    assert 0.99 * small < limit <= small
    assert settled['heatkv_kv_pool_effective_limit_bytes{gpu="0"}'] == limit
    assert settled['heatkv_kv_pool_bytes{gpu="0",state="free"}'] == limit
    assert settled['heatkv_kv_pool_capacity_bytes{gpu="0"}'] > 60 * MIB
    assert settled['heatkv_plan_error_bytes{gpu="0"}'] == 0
    assert [picture(seed) for seed in seeds[:2]] == alone[:2]
    # What no longer fits at all is refused, and a larger pool takes it again.
    error = refusal(lambda: server.generate(PROMPT, tier="full"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    apply(server, config % 64)
    assert server.generate(PROMPT, tier="full").images


def test_tiers_and_their_default_change_while_requests_run(start):
    server = start()
    stream = server.stream(PROMPT, n=4, seed=7)
    alone = [image.data for image in server.generate(PROMPT, n=4, seed=7).images]
    answer = apply(
        server, "tiers: {full: 1, lean: 0.07}\ndefault_tier: lean\n"
    )
    assert {c.key for c in answer.changes} == {
        "default_tier", "tiers.lean", "tiers.high", "tiers.standard",
        "tiers.economy",
    }
    # The stream goes on with the tier that it was accepted with.
    events = list(stream)
    pictures = {e.image.index: e.image for e in events if e.HasField("image")}
    assert [pictures[i].data for i in range(4)] == alone
    assert {image.recipe.tier for image in pictures.values()} == {"standard"}
    now = server.generate(PROMPT, seed=7)
    assert now.tier == "lean" and now.images[0].recipe.budget == 0.07
    error = refusal(lambda: server.generate(PROMPT, tier="standard"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    capabilities = server.stub.GetCapabilities(
        server.api.pb.GetCapabilitiesRequest()
    )
    assert [(t.name, t.is_default) for t in capabilities.tiers] == [
        ("full", False), ("lean", True),
    ]
    metrics = server.metrics()
    assert metrics['heatkv_images_total{code="OK",tier="lean"}'] == 1
    assert metrics['heatkv_images_total{code="INTERNAL",tier="lean"}'] == 0


def test_a_dry_run_says_what_would_change_and_changes_nothing(start):
    server = start("cache: {pool: 64 MiB}")
    before = view(server).limit_bytes
    answer = apply(
        server,
        "cache: {pool: 8 MiB}\ntenants: {studio: 2}\n"
        "limits: {max_queued_requests: 3}\n",
        dry_run=True,
    )
    assert not answer.applied
    assert [(c.key, c.before, c.after) for c in answer.changes] == [
        ("cache.pool", "64 MiB", "8 MiB"),
        ("tenants.studio", "", "2"),
        ("limits.max_queued_requests", "64", "3"),
    ]
    assert "pool 8.0 MiB holds" in answer.capacity
    assert view(server).limit_bytes == before


def test_keys_that_need_a_restart_are_refused_by_name(start):
    server = start()
    before = view(server).limit_bytes
    error = refusal(
        lambda: apply(
            server,
            "cache: {pool: 8 MiB, dtype: bfloat16}\nencoder_threads: 3\n"
            "heartbeat: 3 s\n",
        )
    )
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    for word in ("cache.dtype", "encoder_threads from 2 to 3", "heartbeat"):
        assert word in error.details()
    assert "cache.pool" not in error.details()
    assert view(server).limit_bytes == before
    error = refusal(lambda: apply(server, "cache: {pool: 1 TiB}"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert str(1 << 40) in error.details()
    error = refusal(lambda: apply(server, "cach: 1\nthreads: many\n"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "config:1:1" in error.details() and "config:2:10" in error.details()


def test_the_log_level_can_be_changed(start):
    server = start()
    pb = server.api.admin_pb
    answer = server.admin.SetLogLevel(pb.SetLogLevelRequest(level="warning"))
    assert answer.before == "info"
    server.generate(PROMPT, request_id="unheard")
    server.admin.SetLogLevel(pb.SetLogLevelRequest(level="info"))
    server.generate(PROMPT, request_id="heard")
    log = server.log.read_text()
    assert "request_id=heard" in log and "request_id=unheard" not in log
    error = refusal(
        lambda: server.admin.SetLogLevel(pb.SetLogLevelRequest(level="loud"))
    )
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_last_requests_are_listed_with_their_ends(start):
    server = start()
    server.generate(PROMPT, n=2, request_id="first", tenant="studio", tier="high")
    refusal(lambda: server.generate(""))
    answer = server.admin.ListRequests(
        server.api.admin_pb.ListRequestsRequest(limit=2)
    )
    refused, good = answer.requests
    assert refused.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "prompt" in refused.status.message
    assert (good.rpc, good.request_id) == ("GenerateImage", "first")
    assert (good.tenant, good.tier) == ("studio", "high")
    assert (good.images_asked, good.images_done) == (2, 2)
    assert good.status.code == 0 and good.peak_cache_bytes > 0
    assert good.took.ToNanoseconds() > 0
    assert abs(good.end_time.ToSeconds() - time.time()) < 60


def test_tenants_are_charged_by_name_or_as_others(start):
    server = start("tenants: {studio: 2}")
    server.generate(PROMPT, tenant="studio")
    server.generate(PROMPT, tenant="somebody")
    metrics = server.metrics()

    def charged(tenant):
        return metrics[f'heatkv_tenant_byte_seconds_total{{tenant="{tenant}"}}']

    assert charged("studio") > 0 and charged("other") > 0
    assert not any("somebody" in name for name in metrics)
    apply(server, "tenants: {somebody: 1}")
    server.generate(PROMPT, tenant="somebody")
    assert any('tenant="somebody"' in name for name in server.metrics())


def test_admin_calls_are_on_their_own_port_only(server):
    error = refusal(
        lambda: server.api.admin_grpc.AdminStub(server.channel).GetPool(
            server.api.admin_pb.GetPoolRequest()
        )
    )
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    stub = reflection_pb2_grpc.ServerReflectionStub(server.admin_channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]))
    names = {s.name for s in answer.list_services_response.service}
    assert "heatkv.v1.Admin" in names
    assert "heatkv.v1.ImageGeneration" not in names
    assert re.fullmatch(r"127\.0\.0\.1:\d+", server.admin_address)
