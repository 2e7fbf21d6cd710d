"""Synapse loads the configuration of golden cases and derives the topology from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from synapse.config.homeserver import HomeServerConfig

from ganglion.data.identity import server_name
from ganglion.programs.synapse.options import config_paths
from ganglion.topology.names import MAIN, MAIN_AS_WRITER
from ganglion.topology.topology import Process
from tests.certificates import Authority
from tests.golden.cases import Case, good

LOADED = (
    "complement",
    "restricted-federation",
    "tcp-and-metrics",
    "given-values",
    "test-mode",
    *(name for name in good() if name.startswith("elsewhere-")),
)


def loaded(paths: tuple[str, ...]) -> Any:
    """Load the files of one process as Synapse does."""
    arguments = [word for path in paths for word in ("--config-path", path)]
    return HomeServerConfig.load_config("a process", arguments)


@pytest.mark.parametrize("case", LOADED, indirect=True)
def test_synapse_accepts_it(case: Case, short_path: Path, authority: Authority) -> None:
    plan = case.made(short_path, authority)
    layout, settings = plan.topology, plan.settings
    replicating = {process.name for process in layout.processes if process.replication}
    for process in layout.processes:
        config = loaded(config_paths(settings, plan.operator, process))
        name = MAIN_AS_WRITER if process.is_main else process.name
        worker = config.worker
        assert worker.instance_name == name
        assert config.server.server_name == server_name(settings, plan.operator)
        secret = plan.operator.options.get("worker_replication_secret")
        expected = secret or plan.secrets.worker_replication_secret
        assert worker.worker_replication_secret == expected
        assert not config.server.daemonize
        assert not worker.worker_daemonize
        assert config.media.can_load_media_repo or "media" not in process.resources
        assert config.redis.redis_enabled
        known = {MAIN if name == MAIN_AS_WRITER else name for name in worker.instance_map}
        assert known == replicating
        assert_listeners(process, worker.worker_listeners or config.server.listeners)
        assert_duties(process, layout.jobs, config)
        for stream, writers in layout.stream_writers.items():
            assert getattr(worker.writers, stream) == list(writers)


def assert_listeners(process: Process, found: Any) -> None:
    """See that Synapse listens where the topology says, and serves there what it says.

    Beside it, main may have manholes of the operator's files.
    """
    manholes = [listener for listener in found if listener.type == "manhole"]
    assert all(listener.bind_addresses == ["127.0.0.1"] for listener in manholes)
    assert process.is_main or not manholes
    found = [listener for listener in found if listener.type != "manhole"]
    expected = {process.http, process.replication, process.metrics} - {None}
    addresses = {
        listener.path if hasattr(listener, "path") else listener.port for listener in found
    }
    assert addresses <= {address.path or address.port for address in expected if address}
    served = {
        name
        for listener in found
        for resource in listener.http_options.resources
        for name in resource.names
    }
    assert process.resources - {"media"} <= served


def assert_duties(process: Process, jobs: Mapping[str, tuple[str, ...]], config: Any) -> None:
    """See that a process does just the background work that is its own."""

    def has(job: str) -> bool:
        return process.name in jobs.get(job, (MAIN,))

    worker = config.worker
    assert worker.run_background_tasks == has("background_worker")
    assert worker.should_update_user_directory == has("user_dir")
    assert worker.should_notify_appservices == has("appservice")
    assert worker.start_pushers == has("pusher")
    assert worker.send_federation == has("federation_sender")
    # Without media workers all may have a repository, and main serves it.
    if "media_repository" in jobs:
        assert config.media.can_load_media_repo == ("media" in process.resources)
