"""`ganglion plan --export`: the objects that change, their order, the interruption."""

import pytest

from ganglion.cli.main import main
from ganglion.export import rollout
from ganglion.export.deployment import Deployment, deployment
from tests.plans import plan


def made(workers: str, **more: str) -> Deployment:
    return deployment({"WORKERS": workers, **more}, plan)


def names(found: rollout.Rollout) -> dict[str, list[str]]:
    kinds = {"added": found.added, "removed": found.removed, "replaced": found.replaced}
    return {kind: [unit.name for unit in units] for kind, units in kinds.items()}


def test_the_same_deployment_changes_nothing() -> None:
    found = rollout.between(made("medium"), made("medium"))
    assert found.nothing
    assert list(rollout.lines(found, "swarm")) == ["nothing changes"]


def test_more_readers_roll_one_after_the_other_main_first_and_nginx_last() -> None:
    found = rollout.between(
        made("event_persister, sync=synchrotron"),
        made("event_persister, sync=synchrotron:2, client_reader"),
    )
    assert not found.together
    assert names(found) == {
        "added": ["client-reader"],
        "removed": [],
        "replaced": ["main", "event-persister1", "sync", "nginx"],
    }
    text = list(rollout.lines(found, "swarm"))
    assert "users    sync: nothing: the next one starts first" in text
    assert text[0] == "add      client-reader"
    other = list(rollout.lines(found, "compose"))
    assert "step 1   docker compose up --detach --wait" in other
    assert (
        "users    sync: nothing: another of its pool, or the fallback, answers meanwhile" in other
    )


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
