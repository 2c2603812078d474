"""What operators look at: metrics, health, reflection, capabilities."""

import re

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server_process import poll

PROMPT = "a yellow house"


def capabilities(server):
    return server.stub.GetCapabilities(server.api.pb.GetCapabilitiesRequest())


def heads(metrics):
    return {
        name: value
        for name, value in metrics.items()
        if name.startswith("heatkv_cache_bytes{")
    }


def test_bytes_of_all_heads_add_up_to_the_pools_use(server):
    stream = server.stream(PROMPT, n=6, tier="high")
    seen = []
    while not any(used > 0 for used in seen) or len(seen) < 20:
        metrics = server.metrics()
        used = metrics['heatkv_kv_pool_bytes{gpu="0",state="used"}']
        assert sum(heads(metrics).values()) == used
        assert metrics['heatkv_plan_error_bytes{gpu="0"}'] == 0
        parts = sum(
            metrics[f'heatkv_kv_pool_bytes{{gpu="0",state="{state}"}}']
            for state in ("used", "free")
        )
        assert parts == metrics['heatkv_kv_pool_effective_limit_bytes{gpu="0"}']
        assert parts == metrics['heatkv_kv_pool_limit_bytes{gpu="0"}']
        assert metrics['heatkv_kv_pool_peak_sum_bytes{gpu="0"}'] >= used
        seen.append(used)
    assert list(stream)[-1].WhichOneof("event") == "completed"
    server.await_empty_pool()
    assert sum(heads(server.metrics()).values()) == 0


def test_every_head_has_its_series_from_the_start(start):
    server = start()
    found = heads(server.metrics())
    layers = {re.search(r'layer="(\d+)"', name)[1] for name in found}
    per_layer = {re.search(r'head="(\d+)"', name)[1] for name in found}
    assert len(found) == len(layers) * len(per_layer) > 0
    assert set(found.values()) == {0}


def test_calls_and_images_are_counted(start):
    server = start()
    server.generate(PROMPT, n=2)
    list(server.stream(PROMPT))
    try:
        server.generate("")
    except grpc.RpcError:
        pass
    metrics = server.metrics()
    assert metrics[
        'heatkv_requests_total{code="OK",rpc="GenerateImage",tier="standard"}'
    ] == 1
    assert metrics[
        'heatkv_requests_total{code="OK",rpc="GenerateImageStream",tier="standard"}'
    ] == 1
    assert metrics[
        'heatkv_requests_total{code="INVALID_ARGUMENT",rpc="GenerateImage",tier=""}'
    ] == 1
    assert metrics['heatkv_images_total{code="OK",tier="standard"}'] == 3
    for stage in ("queue", "text", "scales", "decode", "encode"):
        assert (
            metrics[f'heatkv_stage_duration_seconds_count{{stage="{stage}"}}'] > 0
        )
    scales = len(capabilities(server).models[0].sizes[0].scales)
    assert metrics[
        f'heatkv_scale_duration_seconds_count{{scale="{scales}"}}'
    ] == 3
    assert metrics['heatkv_request_duration_seconds_count{tier="standard"}'] == 2
    assert metrics["heatkv_first_picture_seconds_count"] == 2
    assert metrics["heatkv_step_images_sum"] == 3 * scales
    assert any(name.startswith("heatkv_build_info{") for name in metrics)


def test_queue_gauges_show_who_waits(start):
    server = start("scheduling: {max_running_images: 1}")
    first = server.stream(PROMPT, n=3)
    second = server.stream(PROMPT)

    def one_runs_and_one_waits():
        metrics = server.metrics()
        return (
            metrics["heatkv_images_running"] == 1
            and metrics["heatkv_requests_waiting"] == 1
            and metrics["heatkv_waiting_bytes"] > 0
        )

    poll(one_runs_and_one_waits)
    for stream in (first, second):
        assert list(stream)[-1].WhichOneof("event") == "completed"
    poll(lambda: server.metrics()["heatkv_requests_running"] == 0)


def test_health_answers_for_the_server_and_the_service(server):
    health = health_pb2_grpc.HealthStub(server.channel)
    for service in ("", "heatkv.v1.ImageGeneration"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_service_unless_turned_off(server, start):
    def services(address):
        stub = reflection_pb2_grpc.ServerReflectionStub(
            grpc.insecure_channel(address)
        )
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
        return {s.name for s in answer.list_services_response.service}

    assert "heatkv.v1.ImageGeneration" in services(server.address)
    try:
        services(start("reflection: false").address)
        raise AssertionError("reflection is on")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_capabilities_describe_models_sizes_tiers_and_limits(server):
    answer = capabilities(server)
    (model,) = answer.models
    size = model.sizes[0]
    assert size.width > 0 and size.height > 0
    assert (size.scales[0].height, size.scales[0].width) == (1, 1)
    assert [tier.name for tier in answer.tiers if tier.is_default] == ["standard"]
    costs = {cost.tier: cost for cost in size.tiers}
    assert set(costs) == {tier.name for tier in answer.tiers}
    for tier in answer.tiers:
        cost = costs[tier.name]
        share = cost.peak_bytes_guided / size.full_cache_bytes_guided
        assert tier.budget <= share < tier.budget * 1.15
        assert cost.fits_guided == answer.limits.pool_bytes // cost.peak_bytes_guided
        assert len(cost.schedule_sha256) == 64
    assert answer.limits.max_images == 10
    assert len(answer.formats) == 3
    assert len(model.model_sha256) == 64 and answer.server_version


def test_the_log_has_one_line_for_each_call(start):
    server = start()
    server.generate(PROMPT, request_id="find-me", tags={"team": "a b"})
    lines = [
        line
        for line in server.log.read_text().splitlines()
        if "request_id=find-me" in line
    ]
    (line,) = lines
    assert "event=call" in line and "code=OK" in line
    assert "tier=standard" in line and 'tag="team=a b"' in line
