"""Sockets that are handed over, adopted by Synapse's own functions."""

import json
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import pytest
from synapse.app import _base
from twisted.internet.protocol import Factory

from ganglion.in_synapse.listening import VARIABLE, take_over

FORK = multiprocessing.get_context("fork")


def listening(path: str, *, given_up: bool) -> bool:
    """Have Synapse listen at a socket that was handed over. Returns whether a client connects."""
    handed = socket.socket(socket.AF_UNIX)
    handed.bind(path)
    handed.listen()
    environment = {VARIABLE: json.dumps({f"unix:{path}": handed.detach()})}
    take_over(environment)
    if given_up:
        # The supervisor is about to end it: first it removes the path.
        Path(path).unlink()
    base: Any = _base
    base.listen_unix(path, 0o666, Factory())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return True


@pytest.mark.parametrize("given_up", [False, True])
def test_a_socket_is_adopted_or_replaced(tmp_path: Path, *, given_up: bool) -> None:
    with FORK.Pool(1) as pool:
        named = {"given_up": given_up}
        assert pool.apply(listening, (str(tmp_path / "main.sock"),), named)
