"""The share of the budget of each Synapse process, in the files that it reads."""

import pytest

from ganglion.settings.operator_files import OperatorFiles
from tests.plans import options, plan, rendered

WORKERS = {"WORKERS": "synchrotron, typing"}


def shares(**own: object) -> dict[str, dict[str, object]]:
    """The files of main and two workers, with options of an operator."""
    files = rendered(WORKERS, operator=OperatorFiles(options=own))
    paths = ("underrides", "overrides", "workers/synchrotron1", "workers/typing1")
    return {path: options(files, f"synapse/{path}.yaml") for path in paths}


def test_main_reads_its_share_where_it_may_be_changed_and_workers_theirs_in_their_own() -> None:
    found, budget = shares(), plan(WORKERS).budget
    for path, name in (
        ("underrides", "main"),
        ("workers/synchrotron1", "synchrotron1"),
        ("workers/typing1", "typing1"),
    ):
        caches = budget.caches[name]
        assert found[path]["event_cache_size"] == caches.events
        assert found[path]["caches"] == {
            "global_factor": caches.factor,
            "cache_autotuning": {
                "max_cache_memory_usage": caches.evict_above,
                "target_cache_memory_usage": caches.evict_until,
                "min_cache_ttl": "5m",
            },
        }


@pytest.mark.parametrize(
    ("own", "left"),
    [
        ({"caches": {"global_factor": 2}}, {"event_cache_size"}),
        ({"event_cache_size": "20K"}, {"caches"}),
        ({"caches": None, "event_cache_size": 5}, set[str]()),
    ],
)
def test_what_the_operator_sets_is_not_set_again_behind_it(
    own: dict[str, object], left: set[str]
) -> None:
    for path, values in shares(**own).items():
        if path.startswith("workers/"):
            assert values.keys() & {"caches", "event_cache_size"} == left


def test_the_whole_database_is_named_with_each_pool_that_is_not_mains() -> None:
    found, pools = shares(), plan(WORKERS).budget.pools
    main = found["overrides"]["database"]
    assert isinstance(main, dict)
    assert main["args"]["cp_max"] == pools["main"].most != pools["typing1"].most
    theirs = found["workers/typing1"]["database"]
    assert theirs == {**main, "args": {**main["args"], "cp_max": pools["typing1"].most}}


def test_a_pool_like_mains_needs_no_more_words() -> None:
    files = rendered({**WORKERS, "POSTGRES_CP_MAX": "5"})
    assert "database" not in options(files, "synapse/workers/typing1.yaml")
