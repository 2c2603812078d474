"""A server on two devices: as one, but for speed.

The devices are fake ones, so that this runs anywhere; tools/load_check.py
--device does the like on real ones.
"""

import concurrent.futures
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server_process import poll

FAKE = "heatkv_fake_server"
TWO = ("--device=cuda:0,cuda:1", "--devices=2")
PROMPTS = [f"a red cat number {i}" for i in range(24)]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def pictures(server, images=2):
    """The pictures of all prompts, asked for at once."""
    def make(i):
        answer = server.generate(PROMPTS[i], n=images, seed=i)
        return [image.data for image in answer.images]

    with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as pool:
        return list(pool.map(make, range(len(PROMPTS))))


def view(server):
    return server.admin.GetPool(server.api.admin_pb.GetPoolRequest())


def health(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service="")).status


def used_most(server, gpu):
    return server.metrics()[f'heatkv_kv_pool_high_water_bytes{{gpu="{gpu}"}}']


@pytest.mark.parametrize("policy", ["latency", "preview"])
def test_pictures_on_two_devices_are_those_on_one(start, policy):
    config = f"scheduling: {{policy: {policy}}}"
    one = start(config, "--device=cuda:0", "--devices=2", program=FAKE)
    two = start(config, *TWO, program=FAKE)
    assert pictures(one) == pictures(two)
    for gpu in (0, 1):
        assert used_most(two, gpu) > 0
        assert two.metrics()[f'heatkv_plan_error_bytes{{gpu="{gpu}"}}'] == 0
        two.await_empty_pool()


def test_answers_have_their_images_in_order(start):
    server = start("", *TWO, program=FAKE)
    pb = server.api.pb
    streamed = [
        event.image.index
        for event in server.stream("a red cat", n=7)
        if event.WhichOneof("event") == "image"
    ]
    assert sorted(streamed) == list(range(7))
    job = server.stub.SubmitImage(
        pb.SubmitImageRequest(request=server.request("a red cat", n=7))
    )

    def done():
        view = server.stub.GetImageJob(pb.GetImageJobRequest(job_id=job.job_id))
        return view if len(view.images) == 7 else None

    for images in (server.generate("a red cat", n=7).images, poll(done).images):
        assert [image.index for image in images] == list(range(7))
        seeds = [image.recipe.seed for image in images]
        assert seeds == sorted(seeds)


def test_a_list_in_the_file_and_all_mean_the_same(start):
    for config, flags in (
        ("device: [cuda:0, cuda:1]", ["--devices=2"]),
        ("device: all", ["--devices=2"]),
    ):
        server = start(config, *flags, program=FAKE)
        names = [device.device for device in view(server).devices]
        assert names == ["cuda:0", "cuda:1"]
        server.terminate()
        assert server.await_exit() == 0


def test_views_and_metrics_name_the_devices(start):
    server = start("cache: {pool: 64 MiB}", *TWO, program=FAKE)
    view(server)  # connects
    streams = []
    seen = set()

    def both_are_seen():
        pool = view(server)
        if not pool.images and len(streams) < 40:
            streams.append(server.stream("a red cat", n=8))
        assert sum(d.used_bytes for d in pool.devices) == pool.used_bytes
        assert sum(d.limit_bytes for d in pool.devices) == pool.limit_bytes
        assert all(d.well for d in pool.devices)
        assert pool.plan_error_bytes == 0
        seen.update(image.device for image in pool.images)
        return len(seen) == 2

    poll(both_are_seen, what="images on both devices")
    assert seen == {"cuda:0", "cuda:1"}
    for stream in streams:
        assert list(stream)[-1].WhichOneof("event") == "completed"
    metrics = server.metrics()
    for gpu in (0, 1):
        limit = metrics[f'heatkv_kv_pool_limit_bytes{{gpu="{gpu}"}}']
        assert 63 << 20 < limit <= 64 << 20
        labels = f'{{device="cuda:{gpu}",gpu="{gpu}"}}'
        assert metrics[f"heatkv_device_up{labels}"] == 1
        assert metrics[f"heatkv_device_images_running{labels}"] == 0


def test_the_configuration_says_what_each_device_holds(programs, model_folder):
    text = subprocess.run(
        [programs / FAKE, "--check_config", f"--model={model_folder}",
         "--device=all", "--devices=3", "--pool=64 MiB"],
        capture_output=True, text=True, check=True,
    ).stdout
    assert 'device: "all"' in text
    assert "3 devices (cuda:0, cuda:1, cuda:2), on each of them:" in text
    for device in ("cuda:0", "cuda:1", "cuda:2"):
        assert f"memory of {device}: block pool 64.0 MiB" in text


@pytest.mark.parametrize(
    "device, words",
    [
        ("cuda:0,cuda:0", "names GPU 0 twice"),
        ("cpu,cuda:0", 'must be "cpu", "cuda" or "cuda:N", several GPUs'),
        ("cuda:0,cuda:7", "'cuda:7' is not available"),
    ],
)
def test_devices_that_cannot_be_are_refused(programs, model_folder, device, words):
    result = subprocess.run(
        [programs / FAKE, f"--model={model_folder}", f"--device={device}",
         "--devices=2"],
        capture_output=True, text=True,
    )
    assert result.returncode == 1
    assert words in result.stderr


def test_one_device_fails_and_the_other_goes_on(start, tmp_path):
    broken = tmp_path / "broken"
    server = start(
        "", *TWO, f"--broken_while={broken}", "--broken_device=cuda:1",
        program=FAKE,
    )
    reference = pictures(server, images=1)
    broken.touch()

    def has_failed():
        codes = []
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for call in [
                pool.submit(server.generate, f"new prompt {i}") for i in range(4)
            ]:
                error = call.exception()
                codes.append(error.code() if error else None)
        return grpc.StatusCode.INTERNAL in codes

    poll(has_failed, what="a request on the broken device")
    up = 'heatkv_device_up{{device="cuda:{0}",gpu="{0}"}}'
    poll(lambda: server.metrics()[up.format(1)] == 0, what="the device's end")
    assert server.metrics()[up.format(0)] == 1
    assert server.metrics()["heatkv_model_up"] == 1
    assert health(server) == SERVING
    assert pictures(server, images=1) == reference
    assert [d.well for d in view(server).devices] == [True, False]
    broken.unlink()
    poll(lambda: server.metrics()[up.format(1)] == 1, what="the device's return")
    # The log is written after the metrics tell.
    poll(lambda: "event=device_well device=cuda:1" in server.log.read_text())
    log = server.log.read_text()
    assert "event=device_unwell device=cuda:1" in log
    assert "event=not_serving" not in log


def test_not_serving_only_while_no_device_is_well(start, tmp_path):
    broken = tmp_path / "broken"
    server = start("", *TWO, f"--broken_while={broken}", program=FAKE)
    broken.touch()

    def has_ended():
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(
                lambda i: pool.submit(server.generate, f"prompt {i}").exception(),
                range(2),
            ))
        return health(server) == NOT_SERVING

    poll(has_ended, what="the end of both")
    with pytest.raises(grpc.RpcError) as caught:
        server.generate("another")
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    broken.unlink()
    poll(lambda: health(server) == SERVING)
    assert server.generate("another").images


def test_draining_cancelling_and_reconfiguring_reach_both(start):
    server = start("scheduling: {max_running_images: 2}", *TWO, program=FAKE)
    pb = server.api.admin_pb
    view(server)  # connects
    stream = server.stream("a red cat", n=10)
    other = server.stream("a blue cat", n=10)
    next(stream), next(other)
    poll(lambda: {i.device for i in view(server).images} == {"cuda:0", "cuda:1"})
    smaller = "cache: {pool: 100 MiB}\nscheduling: {max_running_images: 1}\n"
    answer = server.admin.ApplyConfig(pb.ApplyConfigRequest(yaml=smaller))
    assert answer.applied
    for device in view(server).devices:
        assert device.limit_bytes <= 100 << 20
    other.cancel()
    server.admin.Drain(pb.DrainRequest())
    assert health(server) == NOT_SERVING
    assert list(stream)[-1].WhichOneof("event") == "completed"
    poll(lambda: not view(server).images)
    assert view(server).used_bytes == 0
    server.admin.Undrain(pb.UndrainRequest())
    assert server.generate("a red cat").images
    server.terminate()
    assert server.await_exit() == 0
