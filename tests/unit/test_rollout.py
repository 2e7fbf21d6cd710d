"""`ganglion plan --export`: the objects that change, their order, the interruption."""

import pytest

from ganglion.cli.main import main
from ganglion.export import rollout
from ganglion.export.deployment import Deployment, deployment
from ganglion.topology.roles import PRESETS
from tests.plans import plan


def made(workers: str, *, ranges: bool = False, **more: str) -> Deployment:
    return deployment({"WORKERS": workers, **more}, plan, ranges=ranges)


def names(found: rollout.Rollout) -> dict[str, list[str]]:
    kinds = {"added": found.added, "removed": found.removed, "replaced": found.replaced}
    return {kind: [unit.name for unit in units] for kind, units in kinds.items()}


def test_the_same_deployment_changes_nothing() -> None:
    found = rollout.between(made("medium"), made("medium"))
    assert found.nothing
    assert list(rollout.lines(found, "swarm")) == ["nothing changes"]


def test_more_readers_replace_nothing_but_nginx() -> None:
    found = rollout.between(
        made("event_persister, sync=synchrotron"),
        made("event_persister, sync=synchrotron:2, client_reader"),
    )
    assert not found.together
    assert names(found) == {
        "added": ["sync2", "client-reader"],
        "removed": [],
        "replaced": ["nginx"],
    }
    assert list(rollout.lines(found, "swarm")) == [
        "add      sync2, client-reader",
        "replace  nginx",
        "step 1   docker stack deploy --compose-file FILE --resolve-image=never ganglion",
        "users    nginx: connections end; clients connect again within seconds",
        "users    new and removed units: nothing, as nginx asks the others of a pool",
    ]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_one_reader_more_or_less_changes_the_containers_of_nginx_alone(preset: str) -> None:
    # Whatever each target writes for a container comes from these variables.
    old, new = made(f"{preset}, mine=synchrotron"), made(f"{preset}, mine=synchrotron:2")
    for before, after in ((old, new), (new, old)):
        found = rollout.between(before, after)
        assert [unit.name for unit in found.replaced] == ["nginx"]
        assert [unit.name for unit in (*found.added, *found.removed)] == ["mine2"]
        assert not found.together


def test_another_variable_replaces_every_unit_main_first_and_nginx_last() -> None:
    found = rollout.between(
        made("event_persister, sync=synchrotron"),
        made("event_persister, sync=synchrotron", SYNAPSE_LOG_LEVEL="DEBUG"),
    )
    assert names(found)["replaced"] == ["main", "event-persister1", "sync", "nginx"]
    text = list(rollout.lines(found, "swarm"))
    assert "users    sync: nothing: the next one starts first" in text
    other = list(rollout.lines(found, "compose"))
    assert "step 1   docker compose up --detach --wait" in other
    assert (
        "users    sync: nothing: another of its pool, or the fallback, answers meanwhile" in other
    )


def test_other_numbers_of_a_range_scale_a_unit_and_may_replace_nginx() -> None:
    def between(old: str, new: str, target: str = "swarm") -> list[str]:
        before, after = (
            made(f"event_persister, sync=synchrotron:{number}", ranges=True)
            for number in (old, new)
        )
        found = rollout.between(before, after)
        assert not found.added
        assert not found.removed
        text = list(rollout.lines(found, target))
        return [line for line in text if not line.startswith("step")]

    assert between("2-4", "3-4") == ["scale    sync: from 2-4 to 3-4 containers"]
    nginx = "users    nginx: connections end; clients connect again within seconds"
    assert between("2-4", "2-6") == [
        "replace  nginx",
        "scale    sync: from 2-4 to 2-6 containers",
        nginx,
    ]
    assert between("4", "2-4") == ["scale    sync: from 4 to 2-4 containers"]
    assert between("4", "2-4", "kubernetes")[1:] == [
        (
            "users    sync: its pods have other names; delete the objects of the old ones when the"
            " new ones are ready"
        )
    ]


def test_a_target_without_ranges_has_the_lower_number() -> None:
    found = made("sync=synchrotron:2-4")
    assert [unit.replicas for unit in found.units if unit.name == "sync"] == [2]


def test_postgresql_that_gets_more_connections_is_named() -> None:
    found = rollout.between(made("client_reader:2"), made("client_reader:30"))
    assert found.postgres
    text = list(rollout.lines(found, "compose"))
    assert "restart  postgres, for another number of connections" in text
    assert "users    postgres: requests wait until it has started again" in text
    old, new = (
        made(workers, POSTGRES_HOST="db.example", POSTGRES_PASSWORD="x")
        for workers in ("client_reader:2", "client_reader:30")
    )
    found = rollout.between(old, new)
    assert not found.postgres


@pytest.mark.parametrize(
    "workers",
    ["event_persister:2", "event_persister, pusher", "event_persister, federation_sender"],
)
def test_other_lists_stop_everything_first(workers: str) -> None:
    found = rollout.between(made("event_persister"), made(workers))
    assert found.together
    text = list(rollout.lines(found, "swarm"))
    assert text[-3:] == [
        "step 1   docker stack rm ganglion",
        "step 2   docker stack deploy --compose-file FILE --resolve-image=never ganglion",
        "users    no response until main and nginx have started; then clients go on",
    ]


def test_removed_units_are_named() -> None:
    found = rollout.between(made("client_reader:2"), made("none"))
    assert names(found)["removed"] == ["client-reader"]
    assert next(rollout.lines(found, "swarm")) == "remove   client-reader (2 containers)"


def test_the_verb_compares_the_variables_with_the_new_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    environ = {"WORKERS": "client_reader", "GANGLION_DATA": "/nowhere"}
    assert main(["plan", "client_reader, pusher", "--export", "compose"], environ) == 0
    assert "add      pusher1" in capsys.readouterr().out
