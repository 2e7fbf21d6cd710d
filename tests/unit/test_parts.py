"""A container that runs a part of the topology: which processes, at which hosts."""

from collections.abc import Mapping

import pytest
import yaml

from ganglion.plan import file_notes
from ganglion.programs.postgres import database_lock
from ganglion.programs.registry import programs, running
from ganglion.settings import parsers, part_problems, parts
from tests.plans import plan, problems, rendered, said, settings, topology_of

HOSTS = "*={process}"
STORES = {
    "POSTGRES_HOST": "db",
    "POSTGRES_PASSWORD": "p",
    "REDIS_HOST": "redis",
    "GANGLION_HOSTS": HOSTS,
}


def part(only: str, workers: str = "medium", **more: str) -> Mapping[str, str]:
    return {**STORES, "WORKERS": workers, "GANGLION_ONLY": only, **more}


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("main", ["main"]),
        ("nginx, main", ["main"]),
        ("nginx", []),
        ("sync2", ["sync2"]),
        # An entry of WORKERS is all of its processes, and so is a role.
        ("sync", ["sync1", "sync2"]),
        ("synchrotron", ["sync1", "sync2"]),
        ("event_persister main\nevent_creator1", ["main", "event_persister1", "event_creator1"]),
    ],
)
def test_names_processes_entries_and_roles(only: str, expected: list[str]) -> None:
    found = plan(part(only))
    assert [process.name for process in found.topology.here] == expected
    own = ("nginx", "control") if "nginx" in only else ()
    assert [item.name for item in programs(found)] == [*expected, *own]
    assert len(found.topology.processes) == 11
    assert set(found.budget.pools) == set(expected)


def test_nginx_alone_runs_no_database_and_no_redis() -> None:
    """Nor does it need one: the variables of both are left out."""
    environ = {"WORKERS": "medium", "GANGLION_ONLY": "nginx", "GANGLION_HOSTS": HOSTS}
    found = plan(environ)
    assert [item.name for item in programs(found)] == ["nginx", "control"]
    assert {service.name for service in running(found.settings)} == {"synapse", "nginx", "control"}
    assert not any(path.startswith(("synapse", "secrets")) for path in rendered(environ))
    assert file_notes(found) == ()
    # Given to all containers alike, but without the password, which nginx needs not know.
    assert plan({**environ, "POSTGRES_HOST": "db", "REDIS_HOST": "redis"}).settings.runs_nginx


def test_every_process_is_where_hosts_says_the_nearest_entry_first() -> None:
    found = topology_of(
        "medium, client_reader:2",
        **(STORES | {"GANGLION_ONLY": "main"})
        | {
            "GANGLION_HOSTS": "*=rest, sync=machine-{number}, sync2=10.0.0.9,"
            "client_reader=readers, event_persister={group}.{process}.example.org"
        },
    )
    assert {item.name: str(item.http) for item in found.processes} == {
        "main": "rest:18000",
        "event_persister1": "event-persister.event-persister1.example.org:18000",
        "sync1": "machine-1:18000",
        "sync2": "10.0.0.9:18000",
        # Counted for each host.
        "client1": "readers:18000",
        "client_reader1": "readers:18003",
        "client_reader2": "readers:18006",
        "event_creator1": "rest:18003",
        "federation1": "rest:18006",
        "federation_sender1": "rest:18009",
        "media_repository1": "rest:18012",
        "streams1": "rest:18015",
        "background1": "rest:18018",
    }


def test_a_process_elsewhere_leaves_the_ports_of_others_as_they_are() -> None:
    """Or every process would have to learn the addresses of all others at each change."""
    before = topology_of("medium", **(STORES | {"GANGLION_ONLY": "main"}))
    after = topology_of("room_reader:3, medium", **(STORES | {"GANGLION_ONLY": "main"}))
    places = {item.name: str(item.http) for item in after.processes}
    assert places.items() >= {item.name: str(item.http) for item in before.processes}.items()


def test_processes_connect_to_their_own_container_by_loopback_and_to_others_by_name() -> None:
    found = plan(part("main, event_persister"))
    _, persister, *others = found.topology.processes
    assert persister.replication is not None
    assert str(persister.replication) == "event-persister1:18001"
    assert persister.replication.near == "127.0.0.1:18001"
    assert persister.replication.listens == "0.0.0.0:18001"
    listens = {item.name: item.listens for item in programs(found)}
    assert listens["event_persister1"] == ("0.0.0.0:18000", "0.0.0.0:18001")
    assert all(item.http.near == str(item.http) for item in others)


UNKNOWN = "names no process, entry or role of WORKERS"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            part("evnt_persister, nginx, typing9, presence", "event_persister"),
            [
                said("GANGLION_ONLY='evnt_persister'", UNKNOWN, "did you mean event_persister?"),
                said(
                    "GANGLION_ONLY='typing9'",
                    UNKNOWN,
                    "choose among main, event_persister and nginx",
                ),
                said(
                    "GANGLION_ONLY='presence'",
                    UNKNOWN,
                    "add the role to WORKERS, or remove it here",
                ),
            ],
        ),
        (
            part("event_persister", "event_persister", GANGLION_HOSTS="event_persister=a, mian=b"),
            [
                said("GANGLION_HOSTS='mian'", UNKNOWN, "did you mean main?"),
                said(
                    "GANGLION_HOSTS",
                    "gives no host to main: the other processes could not reach it",
                    "add main=HOST, or *={process} if each container has the name of its process",
                ),
            ],
        ),
        (
            part("main", "auto"),
            [
                said(
                    "WORKERS='auto'",
                    "would choose other workers in each container, by its memory and processors",
                    "set WORKERS to the same text in every container, such as medium",
                )
            ],
        ),
        (
            part("nginx main;x"),
            [
                said(
                    "GANGLION_ONLY='nginx main;x'",
                    "'main;x' is not a name",
                    "write names of processes, entries of WORKERS or roles, and nginx, with commas",
                )
            ],
        ),
    ],
)
def test_reports_all_bad_names_together(environ: Mapping[str, str], expected: list[str]) -> None:
    assert problems(lambda: plan(environ)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("main", "'main' is not NAME=HOST"),
        ("=a", "'=a' is not NAME=HOST"),
        ("main=a, main=b", "names 'main' twice"),
        ("main=a b", "'a b', of main, is not a host name or IP address"),
        ("main={host}", "'{host}', of main, is not a host name or IP address"),
        ("main=a;server", "'a;server', of main, is not a host name or IP address"),
    ],
)
def test_rejects_bad_hosts(text: str, message: str) -> None:
    with pytest.raises(parsers.Invalid) as raised:
        parts.hosts(text)
    assert raised.value.message == message


def test_reports_everything_that_containers_cannot_share() -> None:
    chosen = settings(
        WORKERS="medium",
        GANGLION_ONLY="main",
        GANGLION_TEST_MODE="yes",
        GANGLION_DATABASE_LOCK="no",
        SYNAPSE_FORM_SECRET="f",
    )
    found = list(part_problems.problems(chosen, frozenset({"macaroon_secret_key"})))
    assert [(item.variable, item.message) for item in found] == [
        (
            "GANGLION_ONLY",
            "needs PostgreSQL outside of this container, for all containers together",
        ),
        ("GANGLION_ONLY", "needs Redis outside of this container, for all containers together"),
        (
            "GANGLION_DATABASE_LOCK",
            "would let two containers run the same writer, which corrupts the database",
        ),
        ("GANGLION_TEST_MODE", "works in one container only: a reset has to reach every process"),
        (
            "SYNAPSE_WORKER_REPLICATION_SECRET",
            "is not set, and all containers must have the same",
        ),
        ("SYNAPSE_SIGNING_KEY", "is not set, and all containers must have the same"),
    ]
    (alone,) = part_problems.problems(settings(GANGLION_HOSTS=HOSTS), frozenset())
    assert alone.message == "has no effect without GANGLION_ONLY: all processes run here"
    assert not list(part_problems.problems(settings(), frozenset()))


def test_readers_are_not_locked_and_all_others_are() -> None:
    found = plan(
        part("main, sync, client, streams, background, federation", "small, streams=stream_writers")
    )
    claims = database_lock.claims(found.topology)
    here = {process.name for process in found.topology.here}
    assert here >= {"sync1", "client1", "streams1", "background1", "federation1", "main"}
    assert set(claims.processes) == {"main", "streams1", "background1", "federation1"}
    # Sessions of SSO are in the memory of one process.
    (sso,) = plan(part("sso", "sso")).topology.here
    assert sso.single


def test_parts_of_one_topology_agree_on_the_lists_and_parts_of_others_do_not() -> None:
    def lists(only: str, workers: str) -> str:
        return database_lock.claims(plan(part(only, workers)).topology).lists

    assert lists("main", "medium") == lists("sync, nginx", "medium")
    # More readers share nothing.
    assert lists("main", "medium") == lists("main", "medium, room_reader:3")
    for other in ("medium, event_persister:2", "medium, pusher", "medium, federation_sender:2"):
        assert lists("main", "medium") != lists("main", other)


PEM = "-----BEGIN {0}-----\nx\n-----END {0}-----"
TLS = {
    "GANGLION_REPLICATION_CERT": PEM.format("CERTIFICATE"),
    "GANGLION_REPLICATION_KEY": PEM.format("EC PRIVATE KEY"),
}


def test_replication_is_encrypted_between_containers() -> None:
    environ = part("main, event_persister", **TLS)
    files = rendered(environ)
    overrides = yaml.safe_load(files["synapse/overrides.yaml"].content)
    by_name = overrides["instance_map"]
    assert {name: item["tls"] for name, item in by_name.items()} == dict.fromkeys(by_name, True)
    (public, replication) = overrides["listeners"]
    assert "tls" not in public
    assert replication["tls"]
    assert overrides["tls_private_key_path"].endswith("/secrets/replication_key")
    assert files["secrets/replication_cert"].content == f"{TLS['GANGLION_REPLICATION_CERT']}\n"
    assert "secrets/replication_ca" not in files
    # A container whose replication is plain cannot talk with it.
    encrypted, plain = (
        database_lock.claims(plan(each).topology) for each in (environ, part("main"))
    )
    assert encrypted.lists != plain.lists


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"GANGLION_REPLICATION_CA": TLS["GANGLION_REPLICATION_CERT"]},
            ["GANGLION_REPLICATION_CERT", "GANGLION_REPLICATION_KEY"],
        ),
        (
            {"GANGLION_REPLICATION_KEY": TLS["GANGLION_REPLICATION_KEY"]},
            ["GANGLION_REPLICATION_CERT"],
        ),
        (TLS, []),
    ],
)
def test_a_certificate_of_replication_needs_its_key(
    given: Mapping[str, str], expected: list[str]
) -> None:
    found = part_problems.problems(
        settings(**part("main", **given)), frozenset(part_problems.SHARED_SECRETS)
    )
    assert [item.variable for item in found] == expected


def test_encryption_of_replication_has_no_effect_in_one_container() -> None:
    found = part_problems.problems(settings(**TLS), frozenset())
    assert [item.message for item in found] == [
        "has no effect without GANGLION_ONLY: all processes run here"
    ] * 2


@pytest.mark.parametrize("name", ["GANGLION_REPLICATION_CERT", "GANGLION_REPLICATION_KEY"])
def test_a_path_is_no_pem(name: str) -> None:
    (problem,) = problems(lambda: settings(**part("main", **{name: "/etc/replication"})))
    assert problem.startswith(f"{name}: is not a ")
    assert "_FILE" in problem
    assert "/etc/replication" not in problem
