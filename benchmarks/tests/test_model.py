"""The model of larger machines."""

import pytest

from benchmarks.model import ALL_PROCESSORS, PROCESSORS, REDIS, Costs, costs, full, mixture
from benchmarks.model import topology_of as topology

COMPLEMENT = topology("complement", 2)
SPENT = {
    **{worker.name: 0.001 for worker in COMPLEMENT.workers},
    "main": 0.002,
    "event_creator1": 0.015,
    "event_persister1": 0.008,
    "event_persister2": 0.008,
    "postgres": 0.016,
    "nginx": 0.0005,
    REDIS: 0.0017,
}
SEND = costs(SPENT, COMPLEMENT)


def test_what_was_measured_comes_out_again() -> None:
    assert SEND.hear == 0.001
    assert SEND.work[("event_creator",)] == pytest.approx(0.014)
    assert SEND.work[("event_persister",)] == pytest.approx(0.014)
    found = full(SEND, COMPLEMENT, 2)
    assert found.by == ALL_PROCESSORS
    assert found.rate == pytest.approx(2 / sum(SPENT.values()))


def test_with_many_processors_one_process_is_full() -> None:
    found = full(SEND, COMPLEMENT, 64)
    assert found.by == "event_creator1"
    assert found.rate == pytest.approx(1 / 0.015)


def test_main_does_the_work_that_no_worker_does() -> None:
    found = full(SEND, topology("none", 64), 64)
    assert found.by == "main"
    assert found.rate == pytest.approx(1 / (0.001 + 0.001 + 0.014 + 0.014))


def test_a_further_member_moves_the_point() -> None:
    one, two = (
        full(SEND, topology(f"event_creator:{n}, event_persister:4", 64), 64) for n in (1, 2)
    )
    assert one.by == "event_creator1"
    assert two.rate == pytest.approx(1 / (0.001 + 0.014 / 2))


def test_each_process_costs_some_work() -> None:
    few, many = (
        full(SEND, topology(f"event_creator, event_persister, synchrotron:{n}", 2), 2)
        for n in (1, 8)
    )
    assert few.by == many.by == ALL_PROCESSORS
    assert many.rate < few.rate


@pytest.mark.parametrize("layout", ["none", "complement", "auto"])
def test_more_processors_never_do_harm(layout: str) -> None:
    processes = topology(layout, 8)
    rates = [full(SEND, processes, count).rate for count in PROCESSORS]
    assert rates == sorted(rates)


def test_a_mixture_is_between_its_parts() -> None:
    cheap = costs({"client_reader1": 0.002}, COMPLEMENT)
    both = mixture({"send": SEND, "read": cheap}, {"send": 1, "read": 3})
    assert both.work[("event_creator",)] == pytest.approx(0.014 / 4)
    assert both.work[("client_reader",)] == pytest.approx(0.002 * 3 / 4)
    assert both.many == pytest.approx((SEND.many + 0) / 4)
    assert isinstance(both, Costs)
