"""Missing capabilities are found before anything starts."""

import pytest

from ganglion.machine.capabilities import ROOT, STATUS, UNPRIVILEGED, missing, needed
from tests.plans import said

ALL = sum(1 << bit for bit, _ in ROOT.values())
BIND = 1 << 10
PORTS = {"HTTP_PORT": 80, "FEDERATION_PORT": 8448}


def problems(
    effective: int, ports: dict[str, int] | None = None, *, root: bool = True, free: int = 1024
) -> list[str]:
    files = {
        STATUS: f"Name:\tpython\nCapPrm:\t0\nCapEff:\t{effective:016x}\n",
        UNPRIVILEGED: f"{free}\n",
    }
    wanted = needed(files.__getitem__, ports or {}, root=root)
    return [str(problem) for problem in missing(files.__getitem__, wanted)]


def test_the_needed_ones_are_enough() -> None:
    assert problems(ALL) == []
    assert problems(0x1FFFFFFFFFF) == []


@pytest.mark.parametrize("name", ROOT)
def test_one_that_is_missing_is_named_with_its_use_and_the_option(name: str) -> None:
    bit, use = ROOT[name]
    assert problems(ALL & ~(1 << bit)) == [
        said(
            "capabilities",
            f"this account lacks CAP_{name}: CAP_{name} {use}",
            f"docker run --cap-add {name}, or start as another account: docker run --user UID:GID",
        )
    ]


def test_all_missing_ones_are_one_problem() -> None:
    (problem,) = problems(0)
    assert all(f"--cap-add {name}" in problem for name in ROOT)


def test_another_account_needs_none() -> None:
    assert problems(0, root=False) == []


@pytest.mark.parametrize("root", [True, False])
def test_a_low_port_needs_its_own(*, root: bool) -> None:
    given = ALL if root else 0
    assert problems(given | BIND, PORTS, root=root) == []
    # As Docker sets it.
    assert problems(given, PORTS, root=root, free=0) == []
    assert problems(given, {"HTTP_PORT": 1024}, root=root) == []
    assert problems(given, PORTS, root=root) == [
        said(
            "capabilities",
            "this account lacks CAP_NET_BIND_SERVICE: CAP_NET_BIND_SERVICE opens HTTP_PORT=80,"
            " below 1024",
            "choose higher ports, or docker run --sysctl net.ipv4.ip_unprivileged_port_start=0",
        )
    ]


def test_both_kinds_are_one_problem() -> None:
    (problem,) = problems(0, PORTS)
    assert "--sysctl net.ipv4.ip_unprivileged_port_start=0 and docker run --cap-add" in problem


def test_without_proc_nothing_is_refused() -> None:
    def fail(path: str) -> str:
        raise FileNotFoundError(path)

    assert list(missing(fail, needed(fail, PORTS, root=True))) == []
