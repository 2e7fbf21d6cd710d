"""Every export of every preset, and the rules that all of them keep.

    exports/PRESET.TARGET    the files as they are written; a directory for a target of several

`pytest tests/golden --update-golden` writes today's. Read the diff.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml

from ganglion.budget.amounts import MB
from ganglion.errors import ConfigError
from ganglion.export.deployment import TRIED, Deployment, deployment
from ganglion.export.targets import TARGETS, Target
from ganglion.export.units import POSTGRES, REDIS, Unit, flows
from ganglion.export.written import sealed, write
from ganglion.plan import assemble
from ganglion.programs import peers
from ganglion.programs.program import Plan
from ganglion.programs.synapse.options import shared_lists
from ganglion.settings import parsers
from ganglion.settings.part_problems import SHARED_SECRETS
from ganglion.settings.variables import variables
from ganglion.topology.roles import PRESETS
from tests.golden.cases import HERE
from tests.plans import options, plan, rendered

ENVIRON = {"SYNAPSE_SERVER_NAME": "example.org", "SYNAPSE_REPORT_STATS": "no"}
EVERY_PRESET = pytest.mark.parametrize("preset", sorted(PRESETS))
EVERY_EXPORT = pytest.mark.parametrize("target", TARGETS, ids=[item.name for item in TARGETS])
# Given by variables, and to be found in no file.
GIVEN = {
    **{name: f"given-{index}-nowhere" for index, name in enumerate(TRIED) if "KEY" not in name},
    "SYNAPSE_SIGNING_KEY": f"ed25519 a_nowhere {'B' * 43}",
    "SYNAPSE_MACAROON_SECRET_KEY": "given-macaroon-nowhere",
    "SYNAPSE_TURN_SECRET": "given-turn-nowhere",
}


def made(preset: str, environ: Mapping[str, str] = ENVIRON) -> Deployment:
    return deployment({**environ, "WORKERS": preset}, plan)


def files(target: Target, preset: str, environ: Mapping[str, str] = ENVIRON) -> dict[str, str]:
    """Return the content of every exported file by its path."""
    name = f"{preset}.{target.name}"
    return {file.path: file.content for file in target.render(made(preset, environ), name)}


def containers(found: Deployment) -> Iterator[tuple[Unit, str, Plan]]:
    """Yield each container, as its unit, its part and its plan."""
    for unit in found.units:
        for only in unit.only:
            yield unit, only, plan(variables_of(found, unit, only))


def variables_of(found: Deployment, unit: Unit, only: str) -> dict[str, str]:
    """Return the variables of a container, with a value for each secret that it gets."""
    secrets = {name: text for name, text in TRIED.items() if name in found.secrets_of(unit)}
    return {**found.variables_of(unit, only), **secrets}


@EVERY_EXPORT
@EVERY_PRESET
def test_every_export_is_as_expected(
    target: Target, preset: str, request: pytest.FixtureRequest
) -> None:
    found = {path: sealed(text) for path, text in files(target, preset).items()}
    place = HERE / "exports"
    if target.directory:
        place = place / f"{preset}.{target.name}"
    if request.config.getoption("--update-golden"):
        for path, text in found.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text, encoding="utf-8")
    expected = {path: (place / path).read_text(encoding="utf-8") for path in found}
    assert found == expected
    if target.directory:
        there = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
        assert there == found.keys()


def test_there_is_a_golden_file_for_each_preset_and_target_and_no_other() -> None:
    names = {path.name for path in (HERE / "exports").iterdir()}
    assert names == {f"{preset}.{target.name}" for preset in PRESETS for target in TARGETS}


@EVERY_PRESET
def test_each_process_has_exactly_one_home(preset: str) -> None:
    found = made(preset)
    homes = [process.name for _, _, item in containers(found) for process in item.topology.here]
    assert sorted(homes) == sorted(process.name for process in found.plan.topology.processes)
    proxies = [unit.name for unit, _, item in containers(found) if item.settings.runs_nginx]
    assert proxies == ["nginx"]
    # Each refuses to run beside one with other lists, and knows no more than it needs.
    lists = shared_lists(found.plan.topology)
    for unit, _, item in containers(found):
        assert shared_lists(item.topology) == lists
        readers = {process.group for process in item.topology.workers if not process.single}
        assert unit.is_nginx or readers == (set() if unit.single else {unit.stem})
    # A unit of several containers has no process that must run once.
    for unit in found.units:
        assert unit.single == any(process.single for process in unit.processes)
        assert unit.replicas == 1 or not unit.single


@EVERY_EXPORT
@EVERY_PRESET
def test_one_reader_more_changes_nothing_that_rolls_but_nginx(target: Target, preset: str) -> None:
    def rolling(workers: str) -> dict[str, Any]:
        """Return the templates of containers by the names of their objects."""
        found: dict[str, Any] = {}
        for item in documents(files(target, workers)):
            if item.get("kind") in ("Deployment", "StatefulSet", "Job"):
                found[item["metadata"]["name"]] = item["spec"]["template"]
            for name, service in item.get("services", {}).items():
                # Another number of replicas replaces no task.
                service.get("deploy", {}).pop("replicas", None)
                found[name] = service
        # In steps of 50 connections: rollout.Rollout.postgres.
        found.pop(POSTGRES)
        return found

    old = rolling(f"{preset}, mine=synchrotron")
    new = rolling(f"{preset}, mine=synchrotron:2")
    # Swarm numbers the tasks of one service.
    added = set() if target.name == "swarm" else {"mine2"}
    assert new.keys() - old.keys() == added
    assert {name for name in old if old[name] != new[name]} == {"nginx"}


def test_a_range_is_one_number_in_compose_and_the_first_one_in_swarm() -> None:
    workers = {**ENVIRON, "WORKERS": "event_persister, sync=synchrotron:2-4"}
    services: dict[str, dict[str, Any]] = {}
    for target in TARGETS:
        if not target.directory:
            found = deployment(workers, plan, ranges=target.ranges)
            (text,) = (file.content for file in target.render(found, "stack"))
            services[target.name] = yaml.safe_load(text)["services"]
    assert [name for name in services["compose"] if "sync" in name] == ["sync1", "sync2"]
    sync, proxy = services["swarm"]["sync"], services["swarm"]["nginx"]
    assert sync["deploy"]["replicas"] == 2
    # So `docker service scale` alone is enough up to there.
    assert proxy["environment"]["WORKERS"].endswith("sync=synchrotron:4")
    assert sync["environment"]["WORKERS"].endswith("sync=synchrotron:{{.Task.Slot}}")


def commands(target: Target, environ: Mapping[str, str]) -> str:
    """Return the comment at the top, with the commands that make the secrets."""
    found = target.render(deployment({**environ, "WORKERS": "small"}, plan), "stack.yaml")
    text = next(file.content for file in found if "# Made by" in file.content)
    return "\n".join(line for line in text.splitlines() if line.startswith("#"))


@EVERY_EXPORT
def test_the_commands_take_secrets_that_are_given_and_make_the_others(target: Target) -> None:
    given = {
        "SYNAPSE_MACAROON_SECRET_KEY_FILE": "/etc/it's a key",
        "POSTGRES_HOST": "db.example",
        "POSTGRES_PASSWORD": "of the database",
    }
    found = deployment({**ENVIRON, **given, "WORKERS": "small"}, keyed)
    (text,) = (
        file.content for file in target.render(found, "stack.yaml") if "# Made by" in file.content
    )
    assert quote("/etc/it's a key") in text
    assert "printenv POSTGRES_PASSWORD" in text
    assert f"# PostgreSQL at db.example needs max_connections of at least {found.connections}." in (
        text
    )
    new = commands(target, ENVIRON)
    assert "printenv" not in new
    assert "max_connections" not in new
    # All secrets but the signing key.
    assert new.count("openssl rand -hex 32") == len(made("small").secrets) - 1


def keyed(environ: Mapping[str, str]) -> Plan:
    """Make a plan where every file of a secret is there."""
    return plan(
        {name.removesuffix("_FILE"): text for name, text in environ.items()}
        | {"SYNAPSE_MACAROON_SECRET_KEY": "x"}
    )


@EVERY_PRESET
def test_each_address_leads_to_a_listener_of_another_container(preset: str) -> None:
    found = made(preset)
    listening: dict[str, str] = {}
    for _, only, item in containers(found):
        for process in item.topology.here:
            for address in (process.http, process.replication, process.metrics):
                if address is not None:
                    assert address.listens.startswith("0.0.0.0:")
                    assert str(address) not in listening
                    listening[str(address)] = only
    for unit, only, item in containers(found):
        texts = rendered(variables_of(found, unit, only))
        if unit.is_nginx:
            used = set(peers.SERVER.findall(texts[peers.CONF].content))
            asked = {f"{host}{port}" for _, host, port, _ in used}
        else:
            places = options(texts, "synapse/overrides.yaml")["instance_map"]
            asked = {f"{place['host']}:{place['port']}" for place in places.values()}
            near = {
                f"127.0.0.1:{process.replication.port}"
                for process in item.topology.here
                if process.replication is not None
            }
            asked -= near
        # Everything that main of `small` asks is its own.
        assert asked or unit.is_main
        assert asked <= listening.keys()
        assert only not in {listening[address] for address in asked}


@EVERY_PRESET
def test_each_connection_is_among_the_flows_and_each_flow_is_used(preset: str) -> None:
    found = made(preset)
    allowed = {(flow.source, flow.target): set(flow.ports) for flow in flows(found.units)}
    home = {process.name: unit.name for unit in found.units for process in unit.processes}
    used: dict[tuple[str, str], set[int]] = {}
    for unit in found.units:
        for process in found.plan.topology.processes:
            address = process.http if unit.is_nginx else process.replication
            if address is not None and home[process.name] != unit.name:
                assert address.port is not None
                used.setdefault((unit.name, home[process.name]), set()).add(address.port)
        if not unit.is_nginx:
            used |= {(unit.name, POSTGRES): {5432}, (unit.name, REDIS): {6379}}
    assert used == allowed


@EVERY_PRESET
def test_a_container_gets_the_memory_that_it_needs(preset: str) -> None:
    found = made(preset)
    for unit, _, item in containers(found):
        assert item.budget.limits.memory == found.memory[unit.name]
    least = made(preset, ENVIRON | {"GANGLION_MEMORY": "60G"})
    total = sum(least.memory[unit.name] * unit.replicas for unit in least.units)
    assert 60 * 1024 * MB - 100 * MB * len(least.units) < total <= 60 * 1024 * MB


@EVERY_EXPORT
@EVERY_PRESET
def test_no_secret_is_in_a_file(target: Target, preset: str) -> None:
    texts = files(target, preset, ENVIRON | GIVEN)
    assert texts
    for path, text in texts.items():
        for name, value in (*GIVEN.items(), *TRIED.items()):
            assert value not in text or value == "tried", f"{path} has {name}"
    # Their names are: every container finds each of its secrets in a file.
    found = made(preset, ENVIRON | GIVEN)
    assert set(found.secrets) >= {*SHARED_SECRETS.values(), "SYNAPSE_TURN_SECRET"}
    assert set(found.secrets) <= {row.name for _, row in variables() if row.secret}
    everything = "\n".join(texts.values()).lower()
    for name in found.secrets:
        assert name.lower().replace("_", "-") in everything.replace("_", "-")


def documents(texts: Mapping[str, str]) -> list[Any]:
    return [item for text in texts.values() for item in yaml.safe_load_all(text)]


@EVERY_PRESET
def test_compose_gives_every_process_a_service_that_waits_for_main(preset: str) -> None:
    target = next(item for item in TARGETS if item.name == "compose")
    (found,) = documents(files(target, preset))
    services = found["services"]
    split = made(preset)
    parts = {part.replace("_", "-").lower() for unit in split.units for part in unit.only}
    assert services.keys() == parts | {POSTGRES, REDIS}
    for name, service in services.items():
        assert set(service.get("secrets", ())) <= found["secrets"].keys()
        assert set(service["networks"]) <= {"default", *found["networks"]}
        volumes = {item.partition(":")[0] for item in service.get("volumes", ())}
        assert volumes <= found["volumes"].keys()
        for path in [text for text in service["environment"].values() if "/run/secrets" in text]:
            assert path.removeprefix("/run/secrets/") in service["secrets"]
        if name in (POSTGRES, REDIS):
            assert service["healthcheck"]["test"]
            continue
        assert (
            service["deploy"]["resources"]["limits"]["memory"]
            == (service["environment"]["GANGLION_MEMORY"])
        )
        waits = service.get("depends_on", {})
        assert {item["condition"] for item in waits.values()} == {"service_healthy"}
        assert ("main" in waits) == (name != "main")
        assert (POSTGRES in waits) == (name != "nginx")
    # Media is where those are that serve it.
    media = {
        name
        for name, item in services.items()
        if "media:/data/media_store" in item.get("volumes", ())
    }
    topology = split.plan.topology
    serving = {
        str(process.http.host) for process in topology.processes if "media" in process.resources
    }
    assert media == serving


def test_a_file_is_replaced_only_if_nobody_has_changed_it(tmp_path: Path) -> None:
    target = TARGETS[0]
    place = tmp_path / "stack.yaml"
    first = target.render(made("small"), place.name)
    assert write(place, first, directory=False) is None
    second = target.render(made("medium"), place.name)
    assert write(place, second, directory=False) is None
    text = place.read_text()
    place.write_text(text.replace("restart: unless-stopped", "restart: 'no'"))
    changed = place.read_text()
    reason = "is not an export, or was changed since, and would be lost"
    assert write(place, first, directory=False) == reason
    assert place.read_text() == changed
    directory = tmp_path / "stack"
    assert write(directory, first, directory=True) is None
    assert write(directory, second, directory=True) is None
    (directory / "note").write_text("mine")
    assert write(directory, second, directory=True) == "holds other files, which would be lost"
    (directory / "note").unlink()
    (directory / "stack.yaml").write_text(changed)
    assert write(directory, second, directory=True) == (
        "has files that were changed since the last export: stack.yaml"
    )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"WORKERS": "medium", "GANGLION_ONLY": "main", "GANGLION_TEST_MODE": "yes"},
            [
                "GANGLION_ONLY: is decided by the export",
                "GANGLION_TEST_MODE: works in one container only",
            ],
        ),
        (
            {"WORKERS": "medium", "GANGLION_MEMORY": "1G"},
            ["GANGLION_MEMORY: is less than the"],
        ),
        (
            {"WORKERS": "redis=synchrotron, a=client_reader, A=room_reader"},
            [
                "WORKERS: gives a service the name redis, which another one has",
                "WORKERS: gives a service the name a, which another one has",
            ],
        ),
        ({}, ["WORKERS: would choose other workers in each container"]),
    ],
)
def test_all_problems_are_reported_together(
    environ: Mapping[str, str], expected: list[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        deployment(environ, assemble)
    found = [f"{item.variable}: {item.message}" for item in raised.value.problems]
    assert len(found) == len(expected)
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(start)


def test_parsers_take_the_memory_that_an_export_writes() -> None:
    found = made("none")
    for unit in found.units:
        assert parsers.size(found.variables_of(unit, unit.only[0])["GANGLION_MEMORY"]) % MB == 0
