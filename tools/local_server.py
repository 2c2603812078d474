"""A heatkv_server of one's own on free ports, for benchmarks and evaluation.

    with LocalServer(binaries, ["--model", "models/default"]) as server:
        ... server.address ...

The server is stopped with SIGTERM at the end, and must then exit with 0.  What
it says goes to the file `log`, if one is named.
"""

import pathlib
import signal
import subprocess
import tempfile
import time


class LocalServer:
    def __init__(
        self, binaries, arguments=(), start_seconds=120, program="heatkv_server",
        log=None,
    ):
        self._binary = pathlib.Path(binaries) / program
        self._arguments = list(arguments)
        self._start_seconds = start_seconds
        self._log_file = log

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        ports = pathlib.Path(self._folder.name) / "ports"
        log = self._log_file or pathlib.Path(self._folder.name) / "log"
        self._log = open(log, "w+")
        self._process = subprocess.Popen(
            [
                str(self._binary),
                "--listen=127.0.0.1:0",
                "--metrics_listen=127.0.0.1:0",
                "--admin_listen=127.0.0.1:0",
                f"--port_file={ports}",
                *self._arguments,
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + self._start_seconds
        while not ports.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._log.seek(0)
                raise RuntimeError(f"the server did not start:\n{self._log.read()}")
            time.sleep(0.02)
        lines = dict(line.split(": ") for line in ports.read_text().splitlines())
        self.address = f"127.0.0.1:{lines['grpc']}"
        self.admin_address = f"127.0.0.1:{lines['admin']}"
        self.metrics_url = f"http://127.0.0.1:{lines['metrics']}/metrics"
        return self

    def __exit__(self, kind, *_):
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        self._log.seek(0)
        log = self._log.read()
        self._log.close()
        self._folder.cleanup()
        if code != 0 and kind is None:
            raise RuntimeError(f"the server exited with {code}:\n{log}")

    def peak_resident_bytes(self) -> int:
        """Most memory that the server's process has had (Linux VmHWM)."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmHWM in /proc")
