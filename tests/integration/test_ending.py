"""Calls that end early, and a server that is told to stop."""

import concurrent.futures
import time

import grpc
import pytest

from server_process import poll

PROMPT = "a green tree"


def await_started(stream):
    for event in stream:
        if event.WhichOneof("event") == "scale_done":
            return


def test_cancelling_in_mid_flight_frees_the_pool(server):
    stream = server.stream(PROMPT, n=10)
    await_started(stream)
    assert server.pool("used") > 0
    stream.cancel()
    server.await_empty_pool()
    assert server.metrics()['heatkv_plan_error_bytes{gpu="0"}'] == 0
    assert server.generate(PROMPT, seed=1).images


def test_a_client_that_vanishes_frees_the_pool(server, programs, api):
    channel = grpc.insecure_channel(server.address)
    stream = api.grpc.ImageGenerationStub(channel).GenerateImageStream(
        server.request(PROMPT, n=10)
    )
    await_started(stream)
    channel.close()
    server.await_empty_pool()


def test_a_deadline_ends_the_call_and_frees_the_pool(server):
    begin = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        list(server.stream(PROMPT, n=10, timeout=0.3))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begin < 5
    server.await_empty_pool()
    assert (
        server.metrics()[
            'heatkv_requests_total{code="DEADLINE_EXCEEDED",'
            'rpc="GenerateImageStream",tier="standard"}'
        ]
        >= 1
    )


def test_the_servers_own_time_limit_holds_for_patient_clients(start):
    server = start("limits: {max_request_time: 200 ms}")
    with pytest.raises(grpc.RpcError) as caught:
        server.generate(PROMPT, n=10)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    server.await_empty_pool()


def outcome(call):
    try:
        response = call()
    except grpc.RpcError as error:
        return error.code()
    assert all(image.data for image in response.images)
    return grpc.StatusCode.OK


def outcomes_around_termination(server, calls, act):
    """Ends of `calls` unary calls while act() runs once some are running."""
    with concurrent.futures.ThreadPoolExecutor(calls) as pool:
        futures = [
            pool.submit(outcome, lambda i=i: server.generate(PROMPT, seed=i))
            for i in range(calls)
        ]
        poll(lambda: server.metrics()["heatkv_images_running"] > 0)
        act()
        return [future.result(timeout=60) for future in futures]


def test_sigterm_under_load_finishes_what_was_taken(start):
    server = start()
    codes = outcomes_around_termination(server, 6, server.terminate)
    assert server.await_exit() == 0
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert grpc.StatusCode.OK in codes
    assert "event=stopped" in server.log.read_text()


def test_the_drain_deadline_ends_the_rest_with_unavailable(start):
    server = start("drain_deadline: 50 ms\nscheduling: {max_running_images: 1}")
    begin = time.monotonic()
    codes = outcomes_around_termination(server, 20, server.terminate)
    assert server.await_exit() == 0
    assert time.monotonic() - begin < 30
    assert grpc.StatusCode.UNAVAILABLE in codes
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_a_second_sigterm_ends_all_at_once(start):
    server = start("drain_deadline: 10 min\nscheduling: {max_running_images: 1}")

    def twice():
        server.terminate()
        poll(lambda: "event=draining" in server.log.read_text())
        server.terminate()

    codes = outcomes_around_termination(server, 20, twice)
    assert server.await_exit() == 0
    assert grpc.StatusCode.UNAVAILABLE in codes
    assert "event=drain_cut_short" in server.log.read_text()


def test_while_draining_new_requests_are_refused_and_health_says_so(start):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server = start("scheduling: {max_running_images: 1}")
    health = health_pb2_grpc.HealthStub(server.channel)
    check = health_pb2.HealthCheckRequest()
    assert health.Check(check).status == health_pb2.HealthCheckResponse.SERVING
    stream = server.stream(PROMPT, n=8)
    await_started(stream)
    server.terminate()
    poll(
        lambda: health.Check(check).status
        == health_pb2.HealthCheckResponse.NOT_SERVING,
        what="NOT_SERVING",
    )
    with pytest.raises(grpc.RpcError) as caught:
        server.generate(PROMPT)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "shutting down" in caught.value.details()
    events = list(stream)
    assert events[-1].WhichOneof("event") == "completed"
    assert sum(e.WhichOneof("event") == "image" for e in events) == 8
    assert server.await_exit() == 0


def test_sigterm_when_idle_stops_at_once(start):
    server = start()
    server.terminate()
    assert server.await_exit(20) == 0
