"""Properties of the files of every golden case."""

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from supervisor.options import ServerOptions

from ganglion.files.file import SECRET
from ganglion.programs import registry
from ganglion.programs.control import CONF
from ganglion.programs.registry import programs as programs_of
from ganglion.programs.synapse.options import AGENT, SECRET_OPTIONS
from ganglion.routing.nginx_maps import NOBODY, named_upstream
from ganglion.supervisor.options import Options
from ganglion.topology.names import MAIN, MAIN_AS_WRITER
from ganglion.topology.roles import ROLES
from ganglion.topology.topology import LONGEST_SOCKET_PATH
from tests.certificates import Authority
from tests.golden.cases import HERE, Case, good
from tests.syntax import Directive, read_all

EVERY_CASE = pytest.mark.parametrize("case", good(), indirect=True)
OVERRIDES = "synapse/overrides.yaml"
TARGETS = {
    "$ganglion_pool",
    "$ganglion_fallback",
    "$ganglion_last",
    "$ganglion_routed",
    "$ganglion_named",
    "$ganglion_target",
}


def listeners(found: Mapping[str, Any]) -> Iterator[tuple[str, str, set[str]]]:
    """Yield every listener of Synapse: process, address in nginx's notation, resources."""
    for path, options in found.items():
        if path == OVERRIDES or path.startswith("synapse/workers/"):
            name = options.get("worker_name", MAIN)
            for listener in options.get("worker_listeners", options.get("listeners")):
                if listener["type"] == "manhole":
                    continue
                address = (
                    f"unix:{listener['path']}"
                    if "path" in listener
                    else f"{listener['bind_addresses'][0]}:{listener['port']}"
                )
                served = (set(resource["names"]) for resource in listener["resources"])
                yield name, address, set().union(*served)


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a parsed file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, Directive):
        yield from value.words
        yield from strings(value.block or ())
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def upstreams(found: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        block.words[1]: [server.words[1] for server in block.all("server")]
        for block in found["nginx.conf"].all("http", "upstream")
    }


@EVERY_CASE
def test_each_server_of_an_upstream_is_a_listener_for_requests(case: Case) -> None:
    found = read_all(case.rendered())
    listening = {
        address: resources
        for _, address, resources in listeners(found)
        if not resources & {"replication", "metrics"}
    }
    pools = upstreams(found)
    assert "main" in pools
    for name, servers in pools.items():
        assert servers, name
        assert len(set(servers)) == len(servers)
        assert set(servers) <= listening.keys()
        # In test mode, a request can name any process.
        named = name.startswith(named_upstream(""))
        assert named or all(listening[server] != {"health"} for server in servers)


@EVERY_CASE
def test_each_upstream_that_nginx_uses_exists(case: Case) -> None:
    found = read_all(case.rendered())
    pools = upstreams(found)
    named: set[str] = set()
    for table in found["maps.conf"].all("map"):
        if table.words[2] in TARGETS:
            named |= {row.words[1] for row in table.block}
    nobody = {"", NOBODY}
    assert {name for name in named - nobody if not name.startswith("$")} == pools.keys()
    addresses = {address for _, address, _ in listeners(found)}
    passes = [words for words in strings_of_passes(found["nginx.conf"]) if "$" not in words]
    settings = case.settings()
    application = f"http://unix:{settings.paths.control_socket}:"
    assert passes.count(application) == settings.control_runs + settings.test_mode
    token = f"{application}/token"
    assert (token in passes) == (settings.control_token is not None)
    passes = [target for target in passes if target not in (application, token)]
    # Each pool can be asked through nginx, but for the one that refuses more requests when busy,
    # and those of single workers.
    asked = {target for target in passes if target.endswith("/health")}
    roles = {role.name for role in ROLES} | {MAIN}
    shared = {name for name in pools if name.partition(".")[0] in roles - {"initial_synchrotron"}}
    assert asked == {f"http://{name}/health" for name in shared}
    passes = [target for target in passes if target not in asked]
    for target in passes:
        place = re.fullmatch(r"http://(unix:[^:]+|[^/]+):?/_synapse/metrics", target)
        assert place is not None
        assert place[1] in addresses
    assert bool(passes) == settings.enable_metrics


def strings_of_passes(tree: Directive) -> Iterator[str]:
    """Yield the target of every proxy_pass."""
    for directive in tree.block or ():
        if directive.name == "proxy_pass":
            yield directive.words[1]
        yield from strings_of_passes(directive)


@EVERY_CASE
def test_each_variable_of_nginx_is_defined_by_a_map(case: Case) -> None:
    found = read_all(case.rendered())
    made = {
        block.words[2]
        for tree in (found["nginx.conf"].all("http", "map"), found["maps.conf"].all("map"))
        for block in tree
    } | {block.words[2] for block in found["nginx.conf"].all("http", "geo")}
    used = {
        variable
        for tree in (found["nginx.conf"], found["maps.conf"])
        for text in strings(tree)
        for variable in re.findall(r"\$ganglion_\w+", text)
    }
    assert used
    assert used <= made


@EVERY_CASE
def test_each_file_that_is_named_exists_and_the_reverse(case: Case) -> None:
    plan = case.plan()
    found = read_all(case.rendered())
    conf = f"{plan.settings.run}/conf/"
    named: set[str] = set()
    for text in strings(found):
        named |= {word for word in re.split(r"[\s=:]", text) if word.startswith(conf)}
    paths = {name.removeprefix(conf) for name in named}
    assert paths <= found.keys()
    # Unused: only the secrets that the operator's files set.
    given = {
        f"secrets/{name}"
        for name in SECRET_OPTIONS
        if {name, f"{name}_path"} & plan.operator.options.keys()
    }
    # `ganglion ready` reads `workers`, and the control application `budget.json`.
    unnamed = {"budget.json"} & found.keys() if plan.settings.control_runs else set()
    assert found.keys() - paths == {"supervisord.conf", "workers"} | unnamed | given


@EVERY_CASE
def test_each_program_reads_its_configuration_in_order(case: Case) -> None:
    plan = case.plan()
    found = read_all(case.rendered())
    for process in plan.topology.processes:
        words = shlex.split(found["supervisord.conf"][f"program:{process.name}"]["command"])
        paths = [word for option, word in pairwise(words) if option == "--config-path"]
        own = (
            []
            if process.is_main
            else [f"{plan.settings.run}/conf/synapse/workers/{process.name}.yaml"]
        )
        first = [f"{plan.settings.run}/conf/synapse/underrides.yaml"]
        if plan.settings.test_mode:
            first.append(f"{plan.settings.run}/conf/synapse/testing.yaml")
        last = f"{plan.settings.run}/conf/{OVERRIDES}"
        assert paths == [*first, *plan.operator.paths, last, *own]


@EVERY_CASE
def test_each_writer_is_in_the_instance_map_where_it_listens(case: Case) -> None:
    found = read_all(case.rendered())
    overrides = found[OVERRIDES]
    replication = {
        name: address
        for name, address, resources in listeners(found)
        if resources == {"replication"}
    }
    places = {
        name: f"unix:{place['path']}" if "path" in place else f"{place['host']}:{place['port']}"
        for name, place in overrides["instance_map"].items()
    }
    assert places == replication
    assert MAIN in places
    writers = {name for names in overrides["stream_writers"].values() for name in names}
    restricted = overrides["outbound_federation_restricted_to"] or []
    assert writers | set(restricted) == places.keys() - {MAIN}
    names = {name for name, _, _ in listeners(found)}
    for key in ("federation_sender_instances", "pusher_instances"):
        assert set(overrides[key]) <= names | {MAIN_AS_WRITER}
    for key in (
        "run_background_tasks_on",
        "update_user_directory_from_worker",
        "notify_appservices_from_worker",
    ):
        assert overrides[key] is None or overrides[key] in names
    assert overrides["media_instance_running_background_jobs"] in {None, *names}


@EVERY_CASE
def test_media_is_served_and_only_media_servers_write_the_quarantine(case: Case) -> None:
    found = read_all(case.rendered())
    overrides = found[OVERRIDES]
    serving = {name for name, _, resources in listeners(found) if "media" in resources}
    if overrides["enable_media_repo"]:
        serving.add(MAIN)
    writers = overrides["stream_writers"].get("quarantined_media_changes", [MAIN])
    assert serving
    assert set(writers) <= serving
    for name in serving - {MAIN}:
        assert found[f"synapse/workers/{name}.yaml"]["enable_media_repo"] is True


@EVERY_CASE
def test_every_socket_path_is_short_enough(case: Case) -> None:
    found = read_all(case.rendered())
    settings = case.settings()
    paths = {word for text in strings(found) for word in re.findall(r"/[^\s:\"',;]*\.sock\b", text)}
    if settings.embedded_postgres:
        directory = found["postgresql/postgresql.conf"]["unix_socket_directories"]
        paths.add(f"{directory}/.s.PGSQL.5432")
    assert f"{settings.run}/supervisor.sock" in paths
    assert max(len(path.encode()) for path in paths) <= LONGEST_SOCKET_PATH


@EVERY_CASE
def test_every_yaml_is_a_mapping(case: Case) -> None:
    found = {
        path: value for path, value in read_all(case.rendered()).items() if path.endswith(".yaml")
    }
    assert found.keys() >= {"synapse/underrides.yaml", OVERRIDES, "synapse/log/main.yaml"}
    assert all(isinstance(value, dict) for value in found.values())


@EVERY_CASE
def test_no_two_listeners_share_an_address(case: Case) -> None:
    addresses = [address for _, address, _ in listeners(read_all(case.rendered()))]
    assert len(set(addresses)) == len(addresses)


@EVERY_CASE
def test_supervisord_accepts_the_configuration(
    case: Case, short_path: Path, authority: Authority
) -> None:
    plan = case.made(short_path, authority)
    options: Any = Options("/nowhere", prefork=True)
    options.realize(["--configuration", f"{plan.settings.run}/conf/supervisord.conf", "--nodaemon"])
    assert options.parse_warnings == []
    assert isinstance(options, ServerOptions)
    configured = {
        config.name: (
            tuple(shlex.split(config.command)),
            config.needs,
            config.ready_line,
            config.stopwaitsecs,
            group.name,
            group.priority,
        )
        for group in options.process_group_configs
        for config in group.process_configs
    }
    assert configured == {
        program.name: (
            program.command,
            program.needs,
            program.ready_line.encode(),
            program.stop_wait,
            program.group,
            program.priority,
        )
        for program in programs_of(plan)
    }
    for name, (_, needs, _, _, _, _) in configured.items():
        assert set(needs) <= configured.keys() - {name}


# Every trace of the test controls in a file.
OF_CONTROLS = re.compile(
    r"processes\.sock|\.test\.sock|/test/|resetting|map=controls"
    rf"|{re.escape(AGENT)}|ganglion_named|x_ganglion_worker|ganglion_routed",
    re.IGNORECASE,
)


@EVERY_CASE
def test_the_test_controls_exist_in_test_mode_only(
    case: Case,
) -> None:
    settings = case.settings()
    files = case.rendered()
    found = read_all(files)
    mentioning = {path for path, file in files.items() if OF_CONTROLS.search(file.content)}
    expected = {"control.json", "maps.conf", "nginx.conf", OVERRIDES}
    hba = found.get("postgresql/pg_hba.conf", [])
    if any("peer" in line for line in hba):
        expected.add("postgresql/pg_hba.conf")
    assert mentioning == (expected if settings.test_mode else set())
    assert (CONF in files) == settings.control_runs
    assert ("program:control" in found["supervisord.conf"]) == settings.control_runs
    assert ("control" in case.plan().budget.memory) == settings.control_runs
    if settings.control_runs:
        # In production it has neither the supervisor's account nor the test controls.
        (control,) = (item for item in programs_of(case.plan()) if item.name == "control")
        own = None if settings.test_mode else case.plan().machine.account("synapse")
        assert control.account == own
        assert (found[CONF]["test"] is None) != settings.test_mode
        assert files[CONF].mode == SECRET
        (holder,) = (
            item.service
            for item in registry.directories(settings)
            if item.path == settings.paths.control_sockets
        )
        assert holder == ("" if settings.test_mode else "synapse")
    mapped = settings.test_mode and "postgresql/pg_hba.conf" in expected
    assert bool(found.get("postgresql/pg_ident.conf", [])) == mapped
    ports = settings.enable_metrics or settings.control_runs
    assert ("CONTROL_PORT" in settings.public_ports) == ports
    assert len([*found["nginx.conf"].all("http", "server")]) == 1 + ports
    modules = [module["module"] for module in found[OVERRIDES].get("modules", [])]
    assert modules.count(AGENT) == settings.test_mode


def test_some_cases_are_in_test_mode_and_most_are_not(tmp_path: Path) -> None:
    """So the test above finds the controls in some cases and misses them in others."""
    cases = [Case(directory=HERE / name, place=tmp_path / name) for name in good()]
    for case in cases:
        case.place.mkdir()
        case.prepare()
    testing = [case.name for case in cases if case.settings().test_mode]
    assert "controls" in testing
    assert len(testing) < len(cases) / 2


@pytest.mark.parametrize("case", ["controls"], indirect=True)
def test_the_agent_follows_the_operators_modules(case: Case) -> None:
    found = read_all(case.rendered())
    plan = case.plan()
    names = [process.name for process in plan.topology.processes]
    assert list(found["control.json"]["test"]["agents"]) == names
    *theirs, ours = found[OVERRIDES]["modules"]
    assert theirs == plan.operator.options["modules"]
    sockets = [ours["config"]["socket"].replace("NAME", name) for name in names]
    assert list(found["control.json"]["test"]["agents"].values()) == sockets
    assert found["control.json"]["test"]["media"] == "/srv/media"
