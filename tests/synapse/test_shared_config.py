"""The configuration read once for all processes is the one that each would read by itself."""

import json
import multiprocessing
import re
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from signedjson.key import encode_signing_key_base64, generate_signing_key
from synapse.config.homeserver import HomeServerConfig

from ganglion.files.write import write_directory
from ganglion.plan import render
from ganglion.programs.program import Plan
from ganglion.programs.synapse.options import config_paths
from ganglion.supervisor.fork.shared_config import read
from ganglion.topology.topology import Process
from tests.plans import plan

FORK = multiprocessing.get_context("fork")
WORKERS = ("none", "complement", "full", "medium")
KEY = generate_signing_key("test")


def dump(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """Return a configuration as values that JSON can hold, without the names of its files."""
    if isinstance(value, str | int | float | bool | None):
        return value
    if id(value) in seen:
        return "(again)"
    seen = (*seen, id(value))
    found: Any
    if isinstance(value, Mapping):
        found = {str(key): dump(item, seen) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        found = [dump(item, seen) for item in value]
    elif isinstance(value, set | frozenset):
        found = sorted(json.dumps(dump(item, seen), sort_keys=True) for item in value)
    elif isinstance(value, type | types.FunctionType | types.MethodType):
        found = value.__qualname__
    elif type(value).__qualname__ in ("Template", "Environment"):
        found = getattr(value, "name", None)
    elif parts := getattr(value, "__dict__", None):
        names = parts.keys() - {"root", "config_files"}
        found = {name: dump(parts[name], seen) for name in names} | {"": type(value).__qualname__}
    else:
        found = re.sub(r" at 0x[0-9a-f]+", "", str(value))
    return found


def files_of(found: Plan, process: Process) -> tuple[str, ...]:
    return config_paths(found.settings, found.operator, process)


def by_itself(files: tuple[str, ...]) -> Any:
    words = [word for file in files for word in ("--config-path", file)]
    return dump(HomeServerConfig.load_config("Synapse", words))


def shared(main: tuple[str, ...], files: tuple[str, ...]) -> Any:
    common = read(main, None)
    assert common is not None
    return dump(common.for_process(files))


def in_a_child(function: Any, *arguments: Any) -> Any:
    """Call a function in another process, because Synapse's configuration has globals."""
    with FORK.Pool(1) as pool:
        return pool.apply(function, arguments)


@pytest.fixture
def found(tmp_path: Path, request: pytest.FixtureRequest) -> Plan:
    environ = {
        "WORKERS": request.param,
        "GANGLION_RUN": str(tmp_path),
        "GANGLION_DATA": str(tmp_path / "data"),
        "SYNAPSE_USE_UNIX_SOCKET": "no",
        "SYNAPSE_ENABLE_METRICS": "yes",
        "SYNAPSE_SIGNING_KEY": f"{KEY.alg} {KEY.version} {encode_signing_key_base64(KEY)}",
    }
    made = plan(environ)
    (tmp_path / "data").mkdir()
    write_directory(tmp_path / "conf", render(made), {})
    return made


@pytest.mark.parametrize("found", WORKERS, indirect=True)
def test_every_process_has_the_configuration_that_it_would_read(found: Plan) -> None:
    main = files_of(found, found.topology.main)
    for process in found.topology.processes:
        files = files_of(found, process)
        expected = in_a_child(by_itself, files)
        assert len(json.dumps(expected)) > 10_000
        assert in_a_child(shared, main, files) == expected, process.name


@pytest.mark.parametrize("found", ["client_reader"], indirect=True)
def test_a_process_reads_changed_files_itself(found: Plan) -> None:
    main = files_of(found, found.topology.main)
    files = files_of(found, found.topology.workers[0])
    common = read(main, None)
    assert common is not None
    with Path(main[0]).open("a", encoding="utf-8") as file:
        file.write("enable_set_displayname: false\n")
    assert common.for_process(files) is None


@pytest.mark.parametrize("found", ["none"], indirect=True)
def test_main_reads_and_reports_files_that_cannot_be_read(found: Plan) -> None:
    main = files_of(found, found.topology.main)
    Path(main[0]).write_text("server_name: [", encoding="utf-8")
    assert read(main, None) is None
    assert read((*main, "/nowhere"), None) is None


@pytest.mark.parametrize("found", ["none"], indirect=True)
@pytest.mark.parametrize(
    "added",
    [
        {"modules": [{"module": "os.nothing", "config": {}}]},
        {"media_storage_providers": [{"module": "os.nothing", "store_local": True}]},
        {"cas_config": {"user_mapping_provider": {"module": "os.nothing"}}},
    ],
)
def test_processes_import_modules_themselves(found: Plan, added: dict[str, Any]) -> None:
    main = files_of(found, found.topology.main)
    options = yaml.safe_load(Path(main[0]).read_text(encoding="utf-8"))
    Path(main[0]).write_text(yaml.safe_dump(options | added), encoding="utf-8")
    assert read(main, None) is None


@pytest.mark.parametrize("found", ["client_reader"], indirect=True)
def test_ganglions_own_module_is_imported_before_the_fork(found: Plan) -> None:
    """In test mode; but not if the operator's files name another module as well."""
    path = found.settings.run
    settings = replace(found.settings, test_mode=True)
    write_directory(Path(path, "conf"), render(replace(found, settings=settings)), {})
    main = files_of(found, found.topology.main)
    files = files_of(found, found.topology.workers[0])
    assert "Agent" in json.dumps(in_a_child(by_itself, files)["modules"])
    assert in_a_child(shared, main, files) == in_a_child(by_itself, files)
    overrides = Path(main[-1])
    options = yaml.safe_load(overrides.read_text(encoding="utf-8"))
    options["modules"].insert(0, {"module": "os.nothing", "config": {}})
    overrides.write_text(yaml.safe_dump(options), encoding="utf-8")
    assert read(main, None) is None
