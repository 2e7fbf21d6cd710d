"""The table of roles agrees with the configuration of the installed Synapse."""

from typing import Any

import pytest
from synapse.config._base import ConfigError
from synapse.config.homeserver import HomeServerConfig
from synapse.config.workers import WriterLocations

from ganglion.topology.roles import ROLES, Role

STREAMS = [role for role in ROLES if role.stream]
SINGLETONS = [role for role in ROLES if role.singleton_key]
LISTS = [role for role in ROLES if role.list_key]
# The attribute of Synapse's parsed configuration that says whether a process does a role's work.
DUTY = {
    "background_worker": "run_background_tasks",
    "user_dir": "should_update_user_directory",
    "appservice": "should_notify_appservices",
    "pusher": "start_pushers",
    "federation_sender": "send_federation",
}


def name(role: Role) -> str:
    return role.name


def read(values: dict[str, Any], worker: str | None = None) -> Any:
    """Return Synapse's parsed worker configuration, as one process reads it."""
    own = {"worker_app": "synapse.app.generic_worker", "worker_name": worker} if worker else {}
    places = {place: {"path": f"/{place}"} for place in ("main", "a1", "a2")}
    config: Any = HomeServerConfig()
    config.worker.read_config(
        {"instance_map": places, **values, **own}, allow_secrets_in_config=True
    )
    return config.worker


def takes_several(stream: str) -> bool:
    several = {"stream_writers": {stream: ["a1", "a2"]}}
    try:
        read(several)
    except ConfigError as refused:
        return not str(refused).startswith("Must only specify one instance to handle")
    return True


def test_every_stream_of_synapse_has_a_role() -> None:
    fields = {field.name for field in WriterLocations.__attrs_attrs__}
    assert {role.stream for role in STREAMS} == fields


@pytest.mark.parametrize("role", STREAMS, ids=name)
def test_the_limits_of_streams_are_those_of_synapse(role: Role) -> None:
    assert role.stream is not None
    assert getattr(read({"stream_writers": {role.stream: ["a1"]}}).writers, role.stream) == ["a1"]
    assert takes_several(role.stream) == (role.limit is None)


@pytest.mark.parametrize("role", SINGLETONS, ids=name)
def test_a_singleton_is_one_worker_and_not_a_list(role: Role) -> None:
    assert role.limit == 1
    assert role.singleton_key is not None
    doing = {
        worker: getattr(read({role.singleton_key: "a1"}, worker), DUTY[role.name])
        for worker in (None, "a1", "a2")
    }
    assert doing == {None: False, "a1": True, "a2": False}
    both = {role.singleton_key: ["a1", "a2"]}
    assert not getattr(read(both, "a1"), DUTY[role.name])
    # If no worker is named, main does the work.
    assert getattr(read({role.singleton_key: None}), DUTY[role.name])


@pytest.mark.parametrize("role", LISTS, ids=name)
def test_a_list_takes_several_workers_and_main(role: Role) -> None:
    assert role.limit is None
    assert role.list_key is not None
    for holders in (["a1"], ["a1", "a2"], ["master"]):
        doing = {
            worker or "master": getattr(read({role.list_key: holders}, worker), DUTY[role.name])
            for worker in (None, "a1", "a2")
        }
        assert [worker for worker, does in doing.items() if does] == holders


def test_every_other_role_serves_requests() -> None:
    """A role that neither serves requests nor is in the configuration is a mistake."""
    rest = [role for role in ROLES if role not in (*STREAMS, *SINGLETONS, *LISTS)]
    assert all(role.resources for role in rest)
    assert [role.name for role in rest if role.limit is not None] == ["sso"]
