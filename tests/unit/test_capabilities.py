"""Missing capabilities are found before anything starts."""

import pytest

from ganglion.machine.capabilities import NEEDED, missing
from tests.plans import said

ALL = sum(1 << bit for bit, _ in NEEDED.values())


def problems(effective: int) -> list[str]:
    status = f"Name:\tpython\nCapPrm:\t0\nCapEff:\t{effective:016x}\n"
    return [str(problem) for problem in missing(lambda _path: status)]


def test_the_needed_ones_are_enough() -> None:
    assert problems(ALL) == []
    assert problems(0x1FFFFFFFFFF) == []


@pytest.mark.parametrize("name", NEEDED)
def test_one_that_is_missing_is_named_with_its_use_and_the_option(name: str) -> None:
    bit, use = NEEDED[name]
    assert problems(ALL & ~(1 << bit)) == [
        said(
            "capabilities",
            f"root lacks CAP_{name} here: CAP_{name} {use}",
            f"docker run --cap-add {name}, or start as another account: docker run --user UID:GID",
        )
    ]


def test_all_missing_ones_are_one_problem() -> None:
    (problem,) = problems(0)
    assert all(f"--cap-add {name}" in problem for name in NEEDED)


def test_without_proc_nothing_is_refused() -> None:
    def fail(path: str) -> str:
        raise FileNotFoundError(path)

    assert list(missing(fail)) == []
