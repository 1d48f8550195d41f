"""Which cluster is asked for, and addresses at which there is none."""

import os
import socket

import pytest

from cnn.errors import RequestError
from cnn.study import ray_cluster
from cnn.study.ray_cluster import Cluster, joined

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    "address, node",
    [("10.0.0.1:6379", ("10.0.0.1", 6379)), ("head.example:1", ("head.example", 1)), ("[::1]:65535", ("::1", 65535))],
)
def test_addresses(address, node):
    assert Cluster(address).node == node


@pytest.mark.parametrize(
    "address", ["head", ":6379", "head:", "head:0", "head:65536", "ray://head:10001", "a b:1", "auto"]
)
def test_what_is_no_address(address):
    with pytest.raises(RequestError, match="HOST:PORT of the head of a Ray cluster"):
        Cluster(address)


@pytest.mark.parametrize("asked", [{"cpus": 0}, {"cpus": -1}, {"cpus": 5000}, {"gpus": -1}, {"gpus": 65}])
def test_what_no_trial_can_get(asked):
    (name,) = asked
    with pytest.raises(RequestError, match=f"trial_{name}=.*: must be "):
        Cluster(**asked)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        pytest.raises(RequestError, match=r"must be that of a running Ray cluster, .* \(Connection refused\)"),
        joined(Cluster(f"127.0.0.1:{port}")),
    ):
        pass


def test_another_program_listens(monkeypatch):
    monkeypatch.setattr(ray_cluster, "JOINS", 3.0)
    before = dict(os.environ)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            pytest.raises(RequestError, match=r"\(Ray does not answer in 3 seconds\)"),
            joined(Cluster(f"127.0.0.1:{port}")),
        ):
            pass
    assert dict(os.environ) == before


def test_variables_are_as_they_were(monkeypatch):
    monkeypatch.setenv("RAY_A", "before")
    monkeypatch.delenv("RAY_B", raising=False)
    with ray_cluster._variables({"RAY_A": "1", "RAY_B": "2"}):
        assert (os.environ["RAY_A"], os.environ["RAY_B"]) == ("1", "2")
    assert os.environ["RAY_A"] == "before" and "RAY_B" not in os.environ
