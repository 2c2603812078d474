"""A heatkv_server process on free ports, and ways to look at it."""

import itertools
import re
import signal
import subprocess
import time
import urllib.request

import grpc

START_SECONDS = 120
_numbers = itertools.count()


def poll(condition, seconds=30, what="the condition"):
    """Waits until condition() is true and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true in {seconds} s"
        time.sleep(0.01)


class ServerProcess:
    def __init__(
        self, programs, model, api, folder, config, flags, program="heatkv_server"
    ):
        name = f"server-{next(_numbers)}"
        self.api = api
        self.port_file = folder / f"{name}.ports"
        self.log = folder / f"{name}.log"
        config_file = folder / f"{name}.yaml"
        config_file.write_text(config)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    programs / program, f"--config={config_file}",
                    f"--model={model}", "--listen=127.0.0.1:0",
                    "--metrics_listen=127.0.0.1:0", "--admin_listen=127.0.0.1:0",
                    f"--port_file={self.port_file}", *flags,
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.channel = None
        self.admin_channel = None

    def await_ready(self):
        poll(
            lambda: self.port_file.exists() or self.process.poll() is not None,
            START_SECONDS,
            "readiness",
        )
        assert self.process.poll() is None, self.log.read_text()
        ports = dict(re.findall(r"(\w+): (\d+)", self.port_file.read_text()))
        self.address = f"127.0.0.1:{ports['grpc']}"
        self.admin_address = f"127.0.0.1:{ports['admin']}"
        self.metrics_url = f"http://127.0.0.1:{ports['metrics']}/metrics"
        self.channel = grpc.insecure_channel(self.address)
        self.stub = self.api.grpc.ImageGenerationStub(self.channel)
        self.admin_channel = grpc.insecure_channel(self.admin_address)
        self.admin = self.api.admin_grpc.AdminStub(self.admin_channel)

    def request(self, prompt, **fields):
        return self.api.pb.GenerateImageRequest(prompt=prompt, **fields)

    def generate(self, prompt, **fields):
        return self.stub.GenerateImage(self.request(prompt, **fields))

    def stream(self, prompt, timeout=None, **fields):
        return self.stub.GenerateImageStream(
            self.request(prompt, **fields), timeout=timeout
        )

    def metrics(self):
        """{"name{labels}": value} of one scrape."""
        with urllib.request.urlopen(self.metrics_url) as response:
            text = response.read().decode()
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line and not line.startswith("#")
        }

    def pool(self, state):
        return self.metrics()[f'heatkv_kv_pool_bytes{{gpu="0",state="{state}"}}']

    def await_empty_pool(self):
        poll(lambda: self.pool("used") == 0, what="an empty pool")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def await_exit(self, seconds=60):
        return self.process.wait(timeout=seconds)

    def kill(self):
        for channel in (self.channel, self.admin_channel):
            if channel:
                channel.close()
        self.process.kill()
        self.process.wait()
