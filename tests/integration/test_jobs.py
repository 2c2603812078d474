"""Jobs: pictures that do not need their client to stay."""

import concurrent.futures
import resource

import grpc
import pytest

from server_process import poll

PROMPT = "an orange boat"


def submit(server, key="", prompt=PROMPT, **fields):
    return server.stub.SubmitImage(
        server.api.pb.SubmitImageRequest(
            request=server.request(prompt, **fields), idempotency_key=key
        )
    )


def watch(server, job, after=0):
    return server.stub.WatchImageJob(
        server.api.pb.WatchImageJobRequest(
            job_id=job.job_id, after_sequence=after
        )
    )


def get(server, job, without_data=False):
    return server.stub.GetImageJob(
        server.api.pb.GetImageJobRequest(
            job_id=job.job_id, without_data=without_data
        )
    )


def state(server, job):
    return server.api.pb.JobState.Name(get(server, job, True).state)


def await_state(server, job, *names):
    poll(lambda: state(server, job) in names, what=f"state {names}")


def test_a_job_makes_the_same_pictures_as_a_call(server):
    job = submit(server, seed=4, n=2)
    events = list(watch(server, job))
    assert [events[0].WhichOneof("event"), events[-1].WhichOneof("event")] == [
        "accepted", "completed",
    ]
    done = get(server, job)
    assert state(server, job) == "JOB_STATE_SUCCEEDED"
    assert done.tier == "standard" and done.images_asked == 2
    assert done.expire_time.seconds > done.create_time.seconds
    direct = server.generate(PROMPT, seed=4, n=2)
    made = {image.index: image.data for image in direct.images}
    assert {image.index: image.data for image in done.images} == made
    watched = [e.image for e in events if e.WhichOneof("event") == "image"]
    assert {image.index: image.data for image in watched} == made
    assert not any(i.data for i in get(server, job, True).images)


def test_a_job_goes_on_without_its_client_and_is_watched_again(server, api):
    channel = grpc.insecure_channel(
        server.address, [("grpc.use_local_subchannel_pool", 1)]
    )
    stub = api.grpc.ImageGenerationStub(channel)
    job = stub.SubmitImage(
        api.pb.SubmitImageRequest(request=server.request(PROMPT, seed=1, n=4))
    )
    stream = stub.WatchImageJob(api.pb.WatchImageJobRequest(job_id=job.job_id))
    seen = [next(stream) for _ in range(3)]
    channel.close()
    rest = list(watch(server, job, after=seen[-1].sequence))
    sequences = [e.sequence for e in seen + rest]
    assert sequences == sorted(set(sequences))
    whole = list(watch(server, job))
    assert [e for e in whole if e.sequence > seen[-1].sequence] == rest


def test_the_key_makes_a_second_call_the_first_ones(server):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = list(
            pool.map(lambda _: submit(server, "a-key", seed=9), range(8))
        )
    assert len({job.job_id for job in jobs}) == 1
    with pytest.raises(grpc.RpcError) as caught:
        submit(server, "a-key", seed=10)
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert submit(server, "a-key", seed=9, tenant="x").job_id != jobs[0].job_id


def test_a_cancelled_job_gives_its_blocks_back(server, api):
    job = submit(server, n=10)
    await_state(server, job, "JOB_STATE_RUNNING")
    server.stub.CancelImageJob(
        api.pb.CancelImageJobRequest(job_id=job.job_id)
    )
    await_state(server, job, "JOB_STATE_CANCELLED")
    server.await_empty_pool()
    with pytest.raises(grpc.RpcError) as caught:
        list(watch(server, job))
    assert caught.value.code() == grpc.StatusCode.CANCELLED


def test_an_ended_job_is_forgotten_in_time_and_with_it_its_files(
    start, tmp_path
):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "heatkv-of-an-earlier-run.result").write_text("x")
    (folder / "somebody-elses.png").write_text("x")
    server = start(f"jobs: {{folder: {folder}, keep_for: 5 s}}")
    assert [f.name for f in folder.iterdir()] == ["somebody-elses.png"]
    direct = server.generate(PROMPT, seed=1, n=2)
    job = submit(server, seed=1, n=2)
    list(watch(server, job))
    assert [i.data for i in get(server, job).images] == [
        i.data for i in direct.images
    ]
    poll(
        lambda: [f.name for f in folder.iterdir()] == ["somebody-elses.png"],
        what="the removal of the files",
    )
    with pytest.raises(grpc.RpcError) as caught:
        get(server, job)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_full_disk_ends_the_one_job_and_no_other(start, tmp_path):
    folder = tmp_path / "results"
    server = start(f"jobs: {{folder: {folder}}}")
    jpeg = server.api.pb.ImageFormat.Value("IMAGE_FORMAT_JPEG")
    large = len(server.generate(PROMPT, seed=1).images[0].data)
    small = len(
        server.generate(PROMPT, seed=1, format=jpeg, quality=1).images[0].data
    )
    assert small * 2 < large
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(
        server.process.pid, resource.RLIMIT_FSIZE, ((small + large) // 2, hard)
    )
    unlucky = submit(server, seed=1, n=5)
    lucky = submit(server, seed=1, n=2, format=jpeg, quality=1)
    with pytest.raises(grpc.RpcError) as caught:
        list(watch(server, unlucky))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(folder) in caught.value.details()
    assert "File too large" in caught.value.details()
    assert list(watch(server, lucky))[-1].WhichOneof("event") == "completed"
    assert state(server, unlucky) == "JOB_STATE_FAILED"
    assert len(get(server, lucky).images) == 2
    assert server.generate(PROMPT, seed=1).images
    server.await_empty_pool()
    assert len(list(folder.iterdir())) == 2, "no half of a file is left"


def test_a_folder_that_cannot_be_used_keeps_the_server_from_starting(
    programs, model_folder, tmp_path
):
    import subprocess

    (tmp_path / "file").write_text("x")
    config = tmp_path / "server.yaml"
    config.write_text(f"jobs: {{folder: {tmp_path / 'file' / 'below'}}}")
    result = subprocess.run(
        [programs / "heatkv_server", f"--config={config}",
         f"--model={model_folder}", "--listen=127.0.0.1:0",
         "--metrics_listen=127.0.0.1:0", "--admin_listen=127.0.0.1:0"],
        capture_output=True, text=True, timeout=120,
    )
    assert result.returncode == 1
    assert str(tmp_path / "file" / "below") in result.stderr


def test_jobs_that_run_fill_the_book(start):
    server = start(
        "jobs: {max_jobs: 1}\nscheduling: {max_running_images: 1}"
    )
    job = submit(server, n=5)
    with pytest.raises(grpc.RpcError) as caught:
        submit(server)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1 jobs run" in caught.value.details()
    assert list(watch(server, job))[-1].WhichOneof("event") == "completed"
    assert submit(server).job_id != job.job_id
