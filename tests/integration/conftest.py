"""Fixtures of the integration tests: a real server, a client made from our
protocol files at test time.

    third_party/python/bin/python -m pytest tests/integration \
        --bin build/bin --model models/default
"""

import importlib
import pathlib
import subprocess
import sys

import pytest
from google.rpc import status_pb2

from server_process import ServerProcess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--bin", default=str(ROOT / "build/bin"))
    parser.addoption("--model", default=str(ROOT / "models/default"))


@pytest.fixture(scope="session")
def programs(request):
    """The folder of the programs under test."""
    return pathlib.Path(request.config.getoption("--bin")).resolve()


@pytest.fixture(scope="session")
def model_folder(request):
    return pathlib.Path(request.config.getoption("--model")).resolve()


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    """The protocol's Python modules: api.pb, api.grpc, api.admin_pb, ..."""
    out = tmp_path_factory.mktemp("protocol")
    # google/rpc/status.proto lies in the Python package of its module.
    google_apis = pathlib.Path(status_pb2.__file__).parents[2]
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc",
            f"--proto_path={ROOT / 'proto'}", f"--proto_path={google_apis}",
            f"--python_out={out}", f"--grpc_python_out={out}",
            "heatkv/v1/image_generation.proto", "heatkv/v1/admin.proto",
        ],
        check=True,
    )
    sys.path.insert(0, str(out))

    class Api:
        pb = importlib.import_module("heatkv.v1.image_generation_pb2")
        grpc = importlib.import_module("heatkv.v1.image_generation_pb2_grpc")
        admin_pb = importlib.import_module("heatkv.v1.admin_pb2")
        admin_grpc = importlib.import_module("heatkv.v1.admin_pb2_grpc")

    return Api


@pytest.fixture
def start(programs, model_folder, api, tmp_path):
    """Starts servers: start(config_text, flags...).  Stops what is left."""
    started = []

    def start_one(config="", *flags, model=model_folder, program="heatkv_server"):
        server = ServerProcess(
            programs, model, api, tmp_path, config, flags, program
        )
        started.append(server)
        server.await_ready()
        return server

    yield start_one
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def server(programs, model_folder, api, tmp_path_factory):
    """One server with the default configuration for the tests of a file."""
    folder = tmp_path_factory.mktemp("server")
    process = ServerProcess(programs, model_folder, api, folder, "", ())
    process.await_ready()
    yield process
    process.kill()
