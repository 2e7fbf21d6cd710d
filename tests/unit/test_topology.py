"""The topology of settings."""

import pytest

from ganglion.topology.roles import BY_NAME, PRESETS, ROLES, Kind, Role
from ganglion.topology.topology import Topology, build
from ganglion.topology.workers_syntax import parse_workers
from tests.plans import problems, said, settings, topology_of

TCP = {"SYNAPSE_USE_UNIX_SOCKET": "no"}


def names(layout: Topology) -> list[str]:
    return [worker.name for worker in layout.workers]


def unix(name: str) -> str:
    return f"unix:/run/ganglion/sockets/{name}.sock"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role.name))
def test_every_role_alone(role: Role) -> None:
    layout = topology_of(role.name)
    (worker,) = layout.workers
    assert (worker.name, worker.group, worker.roles) == (f"{role.name}1", role.name, (role.name,))
    assert worker.resources == role.resources
    assert str(worker.http) == unix(worker.name)
    writes = {role.stream: (worker.name,)} if role.stream else {}
    media = role.name == "media_repository"
    if media:
        writes = {"quarantined_media_changes": (worker.name,)}
    assert dict(layout.stream_writers) == writes
    assert dict(layout.jobs) == ({role.name: (worker.name,)} if role.kind is Kind.JOB else {})
    # Only a process that others call has a replication listener.
    assert (worker.replication is not None) == bool(writes)
    assert layout.main.resources == {"client", "federation"} | (set() if media else {"media"})


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role.name))
def test_every_role_twice(role: Role) -> None:
    """Two workers share the role, or are rejected."""
    if role.limit is None:
        layout = topology_of(f"{role.name}:2")
        both = (f"{role.name}1", f"{role.name}2")
        assert tuple(names(layout)) == both
        if role.stream:
            assert layout.stream_writers[role.stream] == both
        if role.kind is Kind.JOB:
            assert layout.jobs[role.name] == both
    else:
        assert problems(lambda: topology_of(f"{role.name}:2")) == [
            said(
                f"WORKERS='{role.name}:2'",
                f"gives the role {role.name} to 2 workers; Synapse allows only 1",
                f"keep {role.name} on one worker with count 1; NAME:0 removes an entry of a preset",
            )
        ]


def test_the_limit_of_a_role_applies_to_all_entries_together() -> None:
    expected = said(
        "WORKERS='streams:1, a:2'",
        "gives the role typing to 3 workers; Synapse allows only 1",
        "keep typing on one worker with count 1; NAME:0 removes an entry of a preset",
    )
    assert problems(lambda: topology_of("medium, a=typing:2")) == [expected]


def test_a_removed_entry_can_be_replaced() -> None:
    layout = topology_of("full, typing:0, a=typing+to_device, to_device:0")
    assert layout.stream_writers["typing"] == layout.stream_writers["to_device"] == ("a1",)


EXPECTED = {
    "none": "",
    "small": "sync1 client1 federation1 background1",
    "medium": "event_persister1 sync1 sync2 client1 event_creator1 federation1 federation_sender1"
    " media_repository1 streams1 background1",
    "large": "event_persister1 event_persister2 event_persister3 event_persister4 synchrotron1"
    " synchrotron2 synchrotron3 synchrotron4 initial_synchrotron1 client_reader1 client_reader2"
    " room_reader1 room_reader2 login1 sso1 event_creator1 event_creator2 federation_reader1"
    " federation_reader2 federation_inbound1 federation_inbound2 federation_sender1"
    " federation_sender2 frontend1 frontend2 streams1 presence1 realtime1 media_repository1 pusher1"
    " appservice1 background_worker1 user_dir1",
    "full": " ".join(f"{role.name}1" for role in ROLES),
    "complement": "event_persister1 event_persister2 background_worker1 event_creator1 user_dir1"
    " media_repository1 federation_inbound1 federation_reader1 federation_sender1 synchrotron1"
    " client_reader1 appservice1 pusher1 device_lists1 device_lists2 stream_writers1",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_workers_of_every_preset(preset: str) -> None:
    assert names(topology_of(preset)) == EXPECTED[preset].split()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_consistent(preset: str) -> None:
    layout = topology_of(preset)
    assert layout.notes == ()
    for stream, writers in layout.stream_writers.items():
        assert writers, stream
        for writer in writers:
            (process,) = (worker for worker in layout.workers if worker.name == writer)
            assert process.replication is not None
    addresses = [str(process.http) for process in layout.processes]
    assert len(set(addresses)) == len(addresses)


def test_auto_is_the_default() -> None:
    for chosen in (settings(), settings(WORKERS="auto"), settings(WORKERS="auto, sso:0")):
        assert names(build(chosen, "pusher:2")) == ["pusher1", "pusher2"]


def test_the_text_of_a_topology_gives_the_same_workers() -> None:
    for workers in (*PRESETS, "a=typing+to_device, pusher:3"):
        layout = topology_of(workers)
        assert names(topology_of(layout.text or "none")) == names(layout)
        assert topology_of(layout.text or "none").workers == layout.workers


def test_full_has_one_worker_for_each_role() -> None:
    assert [worker.roles for worker in topology_of("full").workers] == [
        (role.name,) for role in ROLES
    ]


def test_complement_has_the_workers_of_the_integration_tests() -> None:
    layout = topology_of("complement")
    assert dict(layout.stream_writers) == {
        "events": ("event_persister1", "event_persister2"),
        "typing": ("stream_writers1",),
        "to_device": ("stream_writers1",),
        "account_data": ("stream_writers1",),
        "receipts": ("stream_writers1",),
        "presence": ("stream_writers1",),
        "device_lists": ("device_lists1", "device_lists2"),
        "quarantined_media_changes": ("media_repository1",),
    }
    assert dict(layout.jobs) == {
        "background_worker": ("background_worker1",),
        "user_dir": ("user_dir1",),
        "appservice": ("appservice1",),
        "pusher": ("pusher1",),
        "federation_sender": ("federation_sender1",),
        "media_repository": ("media_repository1",),
    }


def test_the_shorthand_writes_every_stream_that_clients_write_to() -> None:
    written = set(topology_of("stream_writers").stream_writers)
    streams = {role.stream for role in ROLES if role.stream}
    assert written == streams - {"events", "quarantined_media_changes"}


def test_a_worker_with_several_roles_serves_the_resources_of_each() -> None:
    (worker,) = topology_of("a=federation_reader+client_reader+media_repository").workers
    assert worker.resources == {"client", "federation", "media"}


def test_a_role_without_resources() -> None:
    assert BY_NAME["event_persister"].resources == frozenset()
    (worker,) = topology_of("event_persister").workers
    assert worker.resources == frozenset()


def test_media_workers_write_the_quarantine_unless_others_have_that_role() -> None:
    assert topology_of("media_repository:2").stream_writers["quarantined_media_changes"] == (
        "media_repository1",
        "media_repository2",
    )
    layout = topology_of("media_repository, quarantined_media_changes")
    assert layout.stream_writers["quarantined_media_changes"] == ("quarantined_media_changes1",)
    assert "media" in layout.having("quarantined_media_changes")[0].resources


def test_without_media_workers_main_writes_the_quarantine() -> None:
    assert "quarantined_media_changes" not in topology_of("pusher").stream_writers


def test_federation_senders_have_replication_listeners_if_federation_is_restricted() -> None:
    free = topology_of("federation_sender:2")
    assert [worker.replication for worker in free.workers] == [None, None]
    restricted = topology_of("federation_sender:2, pusher", GANGLION_RESTRICT_FEDERATION="yes")
    assert restricted.restrict_federation
    assert {worker.name: worker.replication is not None for worker in restricted.workers} == {
        "federation_sender1": True,
        "federation_sender2": True,
        "pusher1": False,
    }


def test_restricted_federation_requires_a_sender() -> None:
    refused = problems(lambda: topology_of("pusher", GANGLION_RESTRICT_FEDERATION="yes"))
    assert refused == [
        said(
            "GANGLION_RESTRICT_FEDERATION='yes'",
            "leaves no worker to contact other homeservers: WORKERS has no federation_sender",
            "add federation_sender to WORKERS, or unset GANGLION_RESTRICT_FEDERATION",
        )
    ]


def test_over_tcp_each_process_has_three_ports() -> None:
    layout = topology_of("event_persister:2", INTERNAL_PORT_BASE="20000", **TCP)
    ports = [
        [
            address.port
            for address in (process.http, process.replication, process.metrics)
            if address
        ]
        for process in layout.processes
    ]
    assert ports == [[20000, 20001, 20002], [20003, 20004, 20005], [20006, 20007, 20008]]
    assert str(layout.main.http) == "127.0.0.1:20000"


def test_a_public_port_cannot_be_a_loopback_port() -> None:
    ports = {"HTTP_PORT": "18001", "CONTROL_PORT": "18002", "GANGLION_CONTROL": "no"}
    refused = problems(lambda: topology_of("none", **ports, **TCP))
    # The control port is closed, so it cannot collide.
    assert refused == [
        said(
            "HTTP_PORT='18001'",
            "is one of the loopback ports of the processes, 18000 to 18002",
            "choose another port, or move the loopback ports with INTERNAL_PORT_BASE",
        )
    ]


def test_a_long_run_directory_makes_a_socket_path_too_long() -> None:
    """Over TCP, PostgreSQL's socket has the longest path; 107 bytes are allowed."""
    longest = "/postgres/.s.PGSQL.5432"
    run = "/" + "r" * (106 - len(longest))
    topology_of("none", GANGLION_RUN=run, **TCP)
    refused = problems(lambda: topology_of("none", GANGLION_RUN=f"{run}r", **TCP))
    assert refused == [
        said(
            f"GANGLION_RUN='{run}r'",
            f"makes a socket path of 108 bytes; the maximum is 107: {run}r{longest}",
            "use a shorter directory such as /run/ganglion, or a shorter worker name",
        )
    ]


def test_a_long_name_makes_a_socket_path_too_long() -> None:
    name = "n" * 63
    run = "/run/" + "r" * 20
    topology_of(f"{name}=pusher", GANGLION_RUN="/run")
    path = f"{run}/sockets/{name}1.metrics.sock"
    assert problems(lambda: topology_of(f"{name}=pusher", GANGLION_RUN=run)) == [
        said(
            f"GANGLION_RUN={run!r}",
            f"makes a socket path of {len(path)} bytes; the maximum is 107: {path}",
            "use a shorter directory such as /run/ganglion, or a shorter worker name",
        )
    ]


def test_the_number_of_workers_is_limited() -> None:
    assert len(topology_of("client_reader:100, event_creator:100").workers) == 200
    assert problems(lambda: topology_of("client_reader:100, event_creator:100, pusher")) == [
        said(
            "WORKERS",
            "asks for 201 workers; the maximum is 200",
            "lower the counts or remove entries",
        )
    ]


def test_syntax_problems_and_limits_are_reported_together() -> None:
    assert problems(lambda: topology_of("pushr, typing:2, sso:3")) == [
        said("WORKERS='pushr'", "unknown role 'pushr'", "did you mean 'pusher'?"),
        said(
            "WORKERS='sso:3'",
            "gives the role sso to 3 workers; Synapse allows only 1",
            "keep sso on one worker with count 1; NAME:0 removes an entry of a preset",
        ),
        said(
            "WORKERS='typing:2'",
            "gives the role typing to 2 workers; Synapse allows only 1",
            "keep typing on one worker with count 1; NAME:0 removes an entry of a preset",
        ),
    ]


def test_problems_name_synapse_worker_types_if_that_is_set() -> None:
    """An entry written twice means two workers there, as in Synapse's own image."""
    layout = topology_of("", SYNAPSE_WORKER_TYPES="event_persister, event_persister")
    assert names(layout) == ["event_persister1", "event_persister2"]
    assert problems(lambda: topology_of("", SYNAPSE_WORKER_TYPES="typing, typing")) == [
        said(
            "SYNAPSE_WORKER_TYPES='typing:2'",
            "gives the role typing to 2 workers; Synapse allows only 1",
            "keep typing on one worker with count 1; NAME:0 removes an entry of a preset",
        )
    ]


def test_the_topology_has_the_notes_of_the_text() -> None:
    text = "synapse.app.pusher"
    assert topology_of(text).notes == parse_workers(text).notes != ()


def test_a_range_runs_its_lower_number_in_one_container_and_says_so() -> None:
    found = topology_of("small, sync=synchrotron:2-8")
    assert [worker.name for worker in found.workers if worker.group == "sync"] == ["sync1", "sync2"]
    assert dict(found.ranges) == {"sync": 8}
    assert found.notes == (
        (
            "sync has 2 to 8 workers, and 2 run: only the exports for Kubernetes and Swarm use the"
            " upper number"
        ),
    )
    # The text of the layout that runs.
    assert "sync=synchrotron:2," in found.text
