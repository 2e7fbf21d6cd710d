"""Names for `ganglion restart`: their order, and all problems at once."""

import pytest

from ganglion.cli.restart import chosen
from ganglion.errors import ConfigError

KNOWN = ("main", "client_reader1", "client_reader2")


@pytest.mark.parametrize(
    ("names", "every", "expected"),
    [
        ([], True, ["client_reader1", "client_reader2", "main"]),
        (["main", "client_reader2"], False, ["client_reader2", "main"]),
        (["client_reader1", "client_reader1"], False, ["client_reader1"]),
    ],
)
def test_main_comes_last_and_nothing_twice(
    names: list[str],
    every: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    assert chosen(names, KNOWN, every=every) == expected


def test_all_wrong_names_are_reported() -> None:
    with pytest.raises(ConfigError) as raised:
        chosen(["nginx", "mian", "main"], KNOWN, every=True)
    assert [problem.value for problem in raised.value.problems] == ["nginx", "mian", None]
