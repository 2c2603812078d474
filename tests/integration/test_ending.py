"""Calls that end early, and a server that is told to stop."""

import concurrent.futures
import resource
import signal
import subprocess
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
    poll(
        lambda: server.metrics()[
            'heatkv_cancel_to_release_seconds_count{cause="client"}'
        ]
        == 1,
        what="a measured release",
    )
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


class LoneServer:
    """A server process whose standard error is the test's to handle."""

    def __init__(self, programs, model, folder, config, stderr, **popen):
        self.ports = folder / "lone.ports"
        file = folder / "lone.yaml"
        file.write_text(config)
        self.process = subprocess.Popen(
            [
                programs / "heatkv_server", f"--config={file}",
                f"--model={model}", "--listen=127.0.0.1:0",
                "--metrics_listen=127.0.0.1:0", "--admin_listen=127.0.0.1:0",
                f"--port_file={self.ports}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            **popen,
        )

    def stub(self, api):
        poll(self.ports.exists, 120, "readiness")
        port = self.ports.read_text().split("\n")[0].split(": ")[1]
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        return api.grpc.ImageGenerationStub(channel)


@pytest.fixture
def lone(programs, model_folder, tmp_path):
    started = []

    def start_one(config, stderr, **popen):
        server = LoneServer(
            programs, model_folder, tmp_path, config, stderr, **popen
        )
        started.append(server)
        return server

    yield start_one
    for server in started:
        server.process.kill()
        server.process.wait()


def test_a_stuck_server_exits_all_the_same(lone, api):
    # A log that nobody reads: whoever writes an event waits for ever.
    server = lone("drain_deadline: 100 ms", subprocess.PIPE)
    stub = server.stub(api)
    request = api.pb.GenerateImageRequest(prompt="", tags={"t": "x" * 100})

    def code():
        with pytest.raises(grpc.RpcError) as caught:
            stub.GenerateImage(request, timeout=5)
        return caught.value.code()

    assert code() == grpc.StatusCode.INVALID_ARGUMENT
    poll(lambda: code() == grpc.StatusCode.DEADLINE_EXCEEDED, 120)
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 3
    assert 5 <= time.monotonic() - begin < 30


def no_large_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_log_that_may_not_grow_does_not_end_the_server(lone, api, tmp_path):
    log = tmp_path / "limited.log"
    with open(log, "wb") as stream:
        server = lone("", stream, preexec_fn=no_large_files)
        stub = server.stub(api)
        for _ in range(40):
            with pytest.raises(grpc.RpcError):
                stub.GenerateImage(api.pb.GenerateImageRequest(prompt=""))
        assert log.stat().st_size == 4096
        request = api.pb.GenerateImageRequest(prompt=PROMPT)
        assert stub.GenerateImage(request).images
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0


def test_sigterm_while_the_model_loads_stops_at_once(lone, tmp_path):
    log = tmp_path / "loading.log"
    with open(log, "wb") as stream:
        server = lone("", stream)
        poll(lambda: "event=starting" in log.read_text(), what="the start")
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0
    text = log.read_text()
    assert "event=stopped" in text and "event=ready" not in text
