"""Clients that are killed, stopped, or read nothing while others are served."""

import concurrent.futures
import contextlib
import functools
import pathlib
import signal
import subprocess
import sys

import pytest

from server_process import poll

PROMPT = "a white rabbit"

# A client of its own process: asks for ten images and says when they run.
CLIENT = """
import sys
sys.path.insert(0, sys.argv[2])
import grpc
from heatkv.v1 import image_generation_pb2 as pb
from heatkv.v1 import image_generation_pb2_grpc as pb_grpc
# Takes next to nothing that it did not ask for.
options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
stub = pb_grpc.ImageGenerationStub(
    grpc.insecure_channel(sys.argv[1], options))
request = pb.GenerateImageRequest(prompt="a client", n=10, tenant="client")
for event in stub.GenerateImageStream(request):
    if event.WhichOneof("event") == "scale_done":
        print("running", flush=True)
"""


@contextlib.contextmanager
def running_client(server):
    folder = pathlib.Path(server.api.pb.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, server.address, str(folder)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"running\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def served(start):
    """A server, and what the others are to get from it."""
    server = start(
        "stall_timeout: 300 ms\nscheduling: {max_running_images: 1}"
    )
    alone = [server.generate(PROMPT, seed=i).images[0].data for i in range(4)]
    return server, alone


def pictures_of_others(server, act):
    """Pictures that others ask for, with act() in the middle."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(lambda i=i: server.generate(PROMPT, seed=i))
            for i in range(4)
        ]
        act()
        return [f.result(timeout=60).images[0].data for f in futures]


def counted(server, name):
    poll(lambda: server.metrics().get(name) == 1, what=f"one {name}")


def test_a_killed_client_gives_its_blocks_back_and_others_finish(served):
    server, alone = served
    with running_client(server) as client:
        assert pictures_of_others(server, client.kill) == alone
    server.await_empty_pool()
    counted(server, 'heatkv_cancel_to_release_seconds_count{cause="client"}')
    assert server.metrics()['heatkv_plan_error_bytes{gpu="0"}'] == 0


def test_a_stopped_client_is_ended_as_stalled_and_others_finish(served):
    server, alone = served
    with running_client(server) as client:
        stop = functools.partial(client.send_signal, signal.SIGSTOP)
        assert pictures_of_others(server, stop) == alone
        counted(
            server,
            'heatkv_requests_total{code="ABORTED",rpc="GenerateImageStream",'
            'tier="standard"}',
        )
        server.await_empty_pool()
    assert server.metrics()['heatkv_plan_error_bytes{gpu="0"}'] == 0
