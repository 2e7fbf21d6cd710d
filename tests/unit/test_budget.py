"""The budget: each share, their sum, and the limits that are rejected."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.budget.amounts import Budget
from ganglion.budget.connections import (
    MOST_CONNECTIONS,
    SPARE_CONNECTIONS,
    SPARE_EXTERNAL,
    ServerConnections,
)
from ganglion.budget.share_out import EACH_COUNTING, EACH_FORKED
from ganglion.errors import ConfigError
from ganglion.machine.installed import Machine
from ganglion.machine.limits import Limits
from ganglion.programs import nginx, redis
from ganglion.programs.postgres import server as postgres
from ganglion.programs.registry import TYPICAL, share_out
from ganglion.topology import topology
from ganglion.topology.auto import LAYOUTS
from ganglion.topology.roles import PRESETS
from tests.plans import problems, said, settings, topology_of

MB, GB = 1024**2, 1024**3
MEMORY = [512 * MB, 768 * MB, GB, 1536 * MB, *(number * GB for number in (2, 3, 4, 6, 8, 16, 64))]
CORES = [1, 2, 3, 4, 8, 16, 32, 64]
WORKERS = [*PRESETS, *(layout.workers for layout in LAYOUTS[1:])]
EXTERNAL = {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD": "x", "REDIS_HOST": "cache"}
VARIANTS: tuple[dict[str, str], ...] = ({}, {"GANGLION_PREFORK": "no"}, EXTERNAL)


def machine(memory: int, cpus: float, open_files: int = 65536) -> Machine:
    limits = Limits(memory=memory, memory_from="a test", cpus=cpus, cpus_from="a test")
    return replace(TYPICAL, limits=limits, open_files=open_files)


@cache
def layout_of(workers: str) -> topology.Topology:
    return topology_of(workers)


def budget(workers: str, memory: int, cpus: float = 2, **environ: str) -> Budget | None:
    """The budget, or None where it is refused."""
    try:
        return share_out(settings(**environ), layout_of(workers), machine(memory, cpus))
    except ConfigError:
        return None


def within(found: Budget, memory: int) -> None:
    """See that a budget keeps to its limits, and that its settings come to what it counts."""
    assert all(amount >= 0 for amount in found.memory.values()), found.memory
    assert sum(found.memory.values()) == memory
    assert sum(item.memory for item in found.caches.values()) == found.memory["caches"]
    for item in found.caches.values():
        assert item.factor > 0
        assert item.events > 0
        assert item.evict_above is not None
        assert item.evict_until is not None
        assert 0 < item.evict_until < item.evict_above
    proxy = nginx.amounts(found, TYPICAL)
    assert 0 < proxy.connections < proxy.open_files <= 65536
    if "shared_buffers" in found.memory:
        server = postgres.amounts(found)
        assert found.connections + SPARE_CONNECTIONS < server.max_connections
        assert server.shared_buffers * MB <= found.memory["shared_buffers"]
        assert 3 * server.maintenance_work_mem * MB <= found.memory["maintenance_work_mem"]
        assert server.work_mem >= 4
    if "redis" in found.memory:
        server_of_redis = redis.amounts(found)
        assert 2 * server_of_redis.maxmemory * MB <= found.memory["redis"]
        assert server_of_redis.buffer_soft < server_of_redis.buffer_hard


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("workers", WORKERS)
def test_every_plan_keeps_to_its_limits(workers: str, cores: int) -> None:
    for environ in VARIANTS:
        planned = 0
        for memory in MEMORY:
            found = budget(workers, memory, cores, **environ)
            if found is not None:
                within(found, memory)
                planned += 1
        assert planned >= 1


def amounts(found: Budget) -> dict[str, float]:
    """Everything that must not shrink where there is more memory."""
    sizes: dict[str, float] = {}
    for name, caches in found.caches.items():
        sizes |= {
            f"{name} memory": caches.memory,
            f"{name} factor": caches.factor,
            f"{name} events": caches.events,
            f"{name} eviction": caches.evict_above or 0,
            f"{name} pool": found.pools[name].most,
        }
    if "shared_buffers" in found.memory:
        server = postgres.amounts(found)
        sizes |= {
            "max_connections": server.max_connections,
            "shared_buffers": server.shared_buffers,
            "work_mem": server.work_mem,
            "maintenance_work_mem": server.maintenance_work_mem,
        }
    if "redis" in found.memory:
        cache = redis.amounts(found)
        sizes |= {"maxmemory": cache.maxmemory, "buffer": cache.buffer_hard}
    return sizes | {"nginx": nginx.amounts(found, TYPICAL).connections}


def assert_no_less(less: Budget | None, more: Budget | None) -> None:
    if less is not None:
        assert more is not None
        before, after = amounts(less), amounts(more)
        assert before.keys() == after.keys()
        assert {name: after[name] for name, size in before.items() if after[name] < size} == {}


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("workers", WORKERS)
def test_more_memory_never_gives_anything_less(workers: str, cores: int) -> None:
    for environ in VARIANTS:
        plans = [budget(workers, memory, cores, **environ) for memory in MEMORY]
        for less, more in pairwise(plans):
            assert_no_less(less, more)
        assert plans[-1] is not None


@given(
    workers=st.sampled_from(WORKERS),
    cpus=st.floats(0.1, 64),
    memory=st.integers(300 * MB, 70 * GB),
    further=st.one_of(st.integers(1, 5000), st.integers(1, 5 * GB)),
)
def test_nor_does_a_little_more(workers: str, cpus: float, memory: int, further: int) -> None:
    less, more = (budget(workers, size, cpus) for size in (memory, memory + further))
    assert_no_less(less, more)
    if less is not None:
        within(less, memory)


@given(
    roles=st.lists(st.sampled_from(["synchrotron", "event_persister", "pusher"]), max_size=60),
    memory=st.integers(512 * MB, 8 * GB),
    cores=st.sampled_from(CORES),
)
def test_any_number_of_workers_keeps_to_the_limits(
    roles: list[str], memory: int, cores: int
) -> None:
    counts = {role: roles.count(role) for role in roles}
    found = budget(
        ", ".join(f"{role}:{number}" for role, number in counts.items()) or "none", memory, cores
    )
    if found is not None:
        within(found, memory)


def test_main_alone_fits_into_half_a_gigabyte() -> None:
    for environ in VARIANTS:
        assert budget("none", 512 * MB, 1, **environ) is not None


@pytest.mark.parametrize("workers", PRESETS)
def test_a_server_for_tests_leaves_room_for_others(workers: str) -> None:
    """However large the machine; unless it is said how much is for it."""
    found = budget(workers, 64 * GB, GANGLION_TEST_MODE="yes")
    assert found is not None
    within(found, 64 * GB)
    assert postgres.amounts(found).shared_buffers <= 256
    told = budget(workers, 64 * GB, GANGLION_TEST_MODE="yes", GANGLION_MEMORY="32G")
    assert told is not None
    assert postgres.amounts(told).shared_buffers > 1024


def test_pools_follow_what_roles_have_work_for() -> None:
    found = budget("event_persister, typing, synchrotron", 16 * GB)
    assert found is not None
    most = {name: pool.most for name, pool in found.pools.items()}
    assert most == {"main": 10, "event_persister1": 9, "typing1": 3, "synchrotron1": 9}
    assert max(most.values()) <= MOST_CONNECTIONS
    assert {pool.least for pool in found.pools.values()} == {1}


@pytest.mark.parametrize(("workers", "processes"), [("none", 1), ("small", 5), ("full", 27)])
def test_pools_that_are_given_count(workers: str, processes: int) -> None:
    found = budget(workers, 8 * GB, POSTGRES_CP_MIN="2", POSTGRES_CP_MAX="7")
    assert found is not None
    assert {(pool.least, pool.most) for pool in found.pools.values()} == {(2, 7)}
    pools = 7 * processes
    assert postgres.amounts(found).max_connections == pools + pools // 2 + SPARE_CONNECTIONS


def test_a_least_number_of_connections_is_kept_open_everywhere() -> None:
    found = budget("typing", 8 * GB, POSTGRES_CP_MIN="12")
    assert found is not None
    assert {(pool.least, pool.most) for pool in found.pools.values()} == {(12, 12)}


def test_syncs_have_more_caches_than_typing() -> None:
    found = budget("synchrotron, typing", 4 * GB)
    assert found is not None
    assert found.caches["synchrotron1"].memory > 2 * found.caches["typing1"].memory


def test_without_jemalloc_nothing_is_evicted_by_memory() -> None:
    plain = replace(machine(4 * GB, 2), jemalloc=None)
    found = share_out(settings(), layout_of("none"), plain)
    assert found.caches["main"].evict_above is None
    assert found.caches["main"].evict_until is None


def test_few_open_files_are_few_connections() -> None:
    few = machine(64 * GB, 2, open_files=1024)
    found = nginx.amounts(share_out(settings(), layout_of("none"), few), few)
    assert (found.connections, found.open_files) == (512, 1024)


def room(most: int, used: int = 0) -> ServerConnections:
    return ServerConnections(most=most, reserved=3, used=used)


@pytest.mark.parametrize("most", [100, 60, 40, 20, 17])
def test_pools_fit_into_an_external_server(most: int) -> None:
    here = settings(**EXTERNAL)
    found = share_out(here, layout_of("small"), machine(8 * GB, 2), room(most, used=1))
    assert found.connections + SPARE_EXTERNAL + 3 + 1 <= most
    assert all(2 <= pool.most <= MOST_CONNECTIONS for pool in found.pools.values())
    assert "shared_buffers" not in found.memory
    assert "redis" not in found.memory


def test_an_external_server_with_too_few_connections() -> None:
    def attempt(**more: str) -> list[str]:
        here = settings(**EXTERNAL, **more)
        return problems(
            lambda: share_out(here, layout_of("small"), machine(8 * GB, 2), room(16, used=1))
        )

    assert attempt() == [
        said(
            "POSTGRES_HOST='db'",
            "the server has 9 connections for us: of 16, 3 are reserved, 1 in use and 3 spare;"
            " 5 processes of Synapse need 10 at the least",
            "set max_connections of the server to at least 17, or ask for fewer WORKERS",
        )
    ]
    assert attempt(POSTGRES_CP_MAX="5") == [
        said(
            "POSTGRES_HOST='db'",
            "the server has 9 connections for us: of 16, 3 are reserved, 1 in use and 3 spare;"
            " 5 processes of Synapse need 25 at the least",
            "set max_connections of the server to at least 32, or lower POSTGRES_CP_MAX",
        )
    ]


def refusal(workers: str, memory: int, **environ: str) -> str:
    (problem,) = problems(
        lambda: share_out(settings(**environ), layout_of(workers), machine(memory, 2))
    )
    return problem


def test_a_plan_that_cannot_fit_is_refused_with_the_numbers() -> None:
    assert refusal("full", GB) == said(
        "memory='1024M'",
        "is less than the 2370M that these need: Synapse's 27 processes 1352M, their"
        " caches 432M, PostgreSQL 391M, Redis 16M, nginx 20M, the control application 40M, the"
        " kernel 119M;"
        " the limit is a test",
        "give it at least 2370M (docker run --memory, or GANGLION_MEMORY), or ask for at most 8"
        " WORKERS",
    )
    assert refusal("none", 256 * MB, GANGLION_PREFORK="no", POSTGRES_CP_MAX="20") == said(
        "memory='256M'",
        "is less than the 497M that these need: Synapse's 1 process 160M, their caches"
        " 16M, PostgreSQL 213M, Redis 16M, nginx 20M, the control application"
        " 40M, the kernel 32M; the limit is a test",
        "give it at least 497M (docker run --memory, or GANGLION_MEMORY), or lower"
        " POSTGRES_CP_MAX, or unset GANGLION_PREFORK",
    )


@pytest.mark.parametrize("workers", ["none", "small", "full", "large"])
def test_what_a_refusal_asks_for_is_enough(workers: str) -> None:
    needed = int(refusal(workers, 100 * MB).split("at least ")[1].split("M")[0]) * MB
    assert budget(workers, needed) is not None
    assert budget(workers, needed - 2 * MB) is None


def test_as_many_workers_as_a_refusal_allows_do_fit() -> None:
    number = int(refusal("client_reader:50", GB).split("at most ")[1].split()[0])
    assert budget(f"client_reader:{number}", GB) is not None
    assert budget(f"client_reader:{number + 2}", GB) is None


def test_where_counts_are_written_each_process_takes_more() -> None:
    """Python 3.11 has no objects that are immortal."""
    layout, place = layout_of("small"), machine(4 * GB, 2)
    shared = share_out(settings(), layout, place)
    counting = share_out(settings(), layout, replace(place, immortal=False))
    more = (EACH_COUNTING - EACH_FORKED) * len(layout.processes)
    assert counting.memory["synapse"] - shared.memory["synapse"] == more
