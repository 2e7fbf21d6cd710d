"""Work of each start that is done once, before Synapse's processes are forked."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from synapse.replication import http
from synapse.replication.http._base import ReplicationEndpoint

from ganglion.supervisor.fork.preload import _compile_patterns


def endpoints(base: Any = ReplicationEndpoint) -> Iterator[Any]:
    for found in base.__subclasses__():
        if not found.__abstractmethods__:
            yield found
        yield from endpoints(found)


def test_a_start_compiles_no_path_of_replication(monkeypatch: pytest.MonkeyPatch) -> None:
    assert http.ReplicationRestResource
    re.purge()
    _compile_patterns()
    paths: list[str] = []

    class Server:
        def register_paths(self, _method: str, patterns: list[re.Pattern[str]], *_: object) -> None:
            paths.extend(pattern.pattern for pattern in patterns)

    def fail(pattern: str, _flags: int) -> None:
        raise AssertionError(f"{pattern} is compiled at each start")

    compiler: Any = re
    monkeypatch.setattr(compiler._compiler, "compile", fail)
    for endpoint in endpoints():
        object.__new__(endpoint).register(Server())
    assert len(set(paths)) > 20
