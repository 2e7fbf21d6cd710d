"""Every export for one machine: its files as text, and properties of all of them.

    machine-exports/TARGET-PRESET   every file but nginx's and the logging configurations

nginx's files are those of other cases with other paths. `pytest tests/golden --update-golden`
writes today's results. Read the diff.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganglion.cli.main import main
from ganglion.export.systemd import HARDENING
from ganglion.files.file import SECRET, File
from ganglion.files.write import write_directory
from ganglion.settings.secrets import PLACEHOLDER
from ganglion.topology.roles import ROLES, Kind
from ganglion.topology.workers_syntax import parse_workers
from tests.exports import LAYOUTS, RENDER, below, exported
from tests.plans import topology_of

HERE = Path(__file__).parent / "machine-exports"
EVERY = pytest.mark.parametrize(
    ("target", "layout"),
    list(itertools.product(RENDER, LAYOUTS)),
)
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)
FOLDED = "".join(f"{name}={value}\n" for name, value in HARDENING)


def shown(files: Mapping[str, File]) -> Iterator[str]:
    for path, file in sorted(files.items()):
        yield f"==== {path} {file.mode:o}\n"
        if "nginx/" in path or "log/" in path:
            continue
        yield file.content.replace(FOLDED, "(hardening)\n")


@EVERY
def test_files(target: str, layout: str, request: pytest.FixtureRequest) -> None:
    text = "".join(shown(exported(target, layout)))
    expected = HERE / f"{target}-{layout}"
    if request.config.getoption("--update-golden"):
        HERE.mkdir(exist_ok=True)
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_every_file_of_results_belongs_to_an_export() -> None:
    wanted = {f"{target}-{layout}" for target, layout in itertools.product(RENDER, LAYOUTS)}
    assert {path.name for path in HERE.iterdir()} == wanted


def configuration(target: str, files: Mapping[str, File]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options for all processes, and those of each worker."""
    root = "etc/ganglion/" if target == "systemd" else ""
    workers = below(files, f"{root}workers")
    workers.pop("0-main", None)
    return yaml.safe_load(files[f"{root}homeserver.yaml"].content), workers


@EVERY
def test_each_worker_is_a_process_once_and_each_writer_has_one_home(
    target: str, layout: str
) -> None:
    files = exported(target, layout)
    shared, workers = configuration(target, files)
    topology = topology_of(layout)
    names = [options["worker_name"] for options in workers.values()]
    assert sorted(names) == sorted(process.name for process in topology.workers)
    assert all(name == options["worker_name"] for name, options in workers.items())
    homes = {"main", *names}
    assert shared["stream_writers"].keys() == topology.stream_writers.keys()
    for writers in shared["stream_writers"].values():
        assert writers
        assert set(writers) <= homes
        assert set(writers) <= shared["instance_map"].keys()
    for role in ROLES:
        if role.kind is Kind.JOB and (key := role.list_key or role.singleton_key):
            held = shared[key]
            listed = held if isinstance(held, list) else [held] if held else []
            assert set(listed) <= {*homes, "master"}
            assert listed or not topology.having(role.name)


@EVERY
def test_each_address_belongs_to_one_listener(target: str, layout: str) -> None:
    shared, workers = configuration(target, exported(target, layout))
    opened = [
        item["path"]
        for options in (shared, *workers.values())
        for item in options.get("worker_listeners", options.get("listeners"))
    ]
    assert len(opened) == len(set(opened))
    assert {place["path"] for place in shared["instance_map"].values()} <= set(opened)
    files = exported(target, layout)
    (conf,) = (file.content for path, file in files.items() if path.endswith("nginx/nginx.conf"))
    servers = set(re.findall(r"server unix:(\S+) ", conf))
    assert servers
    assert servers <= set(opened)


@EVERY
def test_secrets_are_only_in_files_for_their_owner(target: str, layout: str) -> None:
    files = exported(target, layout)
    holding = {path for path, file in files.items() if PLACEHOLDER in file.content}
    assert len(holding) >= 5
    assert all("/secrets/" in f"/{path}" for path in holding)
    assert all(files[path].mode == SECRET for path in holding)
    # The operator's options may hold some.
    assert all(file.mode == SECRET for path, file in files.items() if "homeserver.yaml" in path)


@EVERY_LAYOUT
def test_synctl_finds_what_it_reads(layout: str) -> None:
    files = exported("synctl", layout)
    shared = yaml.safe_load(files["homeserver.yaml"].content)
    workers = below(files, "workers")
    # synctl starts them in this order.
    first, *others = sorted(workers)
    assert workers[first] == {"worker_app": "synapse.app.homeserver"}
    pids = [shared["pid_file"], *(workers[name]["worker_pid_file"] for name in others)]
    assert len(set(pids)) == len(pids)


def entries(workers: str) -> set[tuple[str, frozenset[str], int]]:
    found = parse_workers(workers).entries
    return {(entry.name, frozenset(entry.roles), entry.count) for entry in found}


@EVERY_LAYOUT
def test_an_import_finds_the_same_workers(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_directory(tmp_path / "old", exported("synctl", layout).values(), {})
    assert main(["import", "--json", str(tmp_path / "old")], {}) == 0
    found = json.loads(capsys.readouterr().out)["variables"]["WORKERS"]
    assert entries(found) == entries(layout)


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Parse a unit."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section.append((name, value))
    return found


@EVERY_LAYOUT
def test_each_process_has_a_unit_that_waits_for_main(layout: str) -> None:
    files = exported("systemd", layout)
    units = {
        path.rpartition("/")[2]: file.content for path, file in files.items() if "system/" in path
    }
    target = sections(units.pop("ganglion.target"))["Unit"]
    assert {value for name, value in target if name == "Wants"} == units.keys()
    topology = topology_of(layout)
    for process in topology.processes:
        found = sections(units.pop(f"ganglion-{process.name}.service"))
        own, service = dict(found["Unit"]), dict(found["Service"])
        assert service["Type"] == "notify"
        assert set(HARDENING) <= set(found["Service"])
        high, most = (int(service[name].removesuffix("M")) for name in ("MemoryHigh", "MemoryMax"))
        assert 300 < high < most
        after = own["After"].split()
        assert {"postgresql.service", "redis-server.service"} <= set(after)
        assert ("ganglion-main.service" in after) is not process.is_main
        assert (
            "--config-path /etc/ganglion/workers/" in service["ExecStart"]
        ) is not process.is_main
    assert units.keys() == {"ganglion-nginx.service", "ganglion-nginx.socket"}


def test_stores_on_other_machines_are_not_waited_for() -> None:
    files = exported(
        "systemd",
        "none",
        POSTGRES_HOST="db.example",
        POSTGRES_PASSWORD="x",
        REDIS_HOST="cache.example",
    )
    after = dict(sections(files["etc/systemd/system/ganglion-main.service"].content)["Unit"])[
        "After"
    ]
    assert after == "network-online.target"
