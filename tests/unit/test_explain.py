"""The explanation of a request."""

from typing import Any

import pytest

from ganglion.cli.explain import as_text
from ganglion.errors import ConfigError
from ganglion.routing.explain import explain
from ganglion.routing.operator_routes import OperatorRoutes
from tests.plans import topology_of


def test_an_explanation_for_a_person() -> None:
    found = explain(
        "GET",
        "/_matrix/client/v3/sync",
        {"Authorization": "Bearer syt_YWxpY2U_abc_12"},
        "192.0.2.9",
        topology_of("synchrotron"),
        OperatorRoutes(),
    )
    assert as_text(found) == (
        "request   GET /_matrix/client/v3/sync\n"
        "rule      initial_sync    ^(GET) /_matrix/client/(api/v1|r0|v3|unstable)/(rooms/[^/]*/)?"
        "initialSync$\n"
        "why       row sync matches, without since or with full_state; no worker has the "
        "role initial_synchrotron\n"
        "key       user = YWxpY2U\n"
        "pool      synchrotron (synchrotron1)\n"
        "worker    synchrotron1\n"
        "fallback  main"
    )


def test_a_request_that_names_its_worker() -> None:
    def explained(name: str, *, test_mode: bool) -> Any:
        return explain(
            "GET",
            "/_matrix/client/v3/sync?since=s1",
            {"X-Ganglion-Worker": name},
            "192.0.2.1",
            topology_of("synchrotron"),
            OperatorRoutes(),
            test_mode=test_mode,
        )

    found = explained("main", test_mode=True)
    assert (found.worker, found.fallback) == ("main", None)
    assert found.why.endswith("; X-Ganglion-Worker names the worker, in test mode")
    found = explained("main", test_mode=False)
    assert (found.worker, found.fallback) == ("synchrotron1", "main")
    with pytest.raises(ConfigError) as caught:
        explained("nobody1", test_mode=True)
    assert str(caught.value) == (
        "X-Ganglion-Worker='nobody1': is not a process of this server; nginx responds with 400\n"
        "    fix: use one of main, synchrotron1"
    )
