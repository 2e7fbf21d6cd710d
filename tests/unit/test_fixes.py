"""The choice of fixes in GANGLION_FIXES."""

import pytest

from ganglion.settings.fix_names import ALL
from ganglion.settings.fixes import as_text, fixes
from ganglion.settings.parsers import Invalid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", ALL),
        ("none", ()),
        (ALL[0], ALL[:1]),
        (f"-{ALL[0]}", ALL[1:]),
        (f"all, -{ALL[0]}", ALL[1:]),
        (", ".join(reversed(ALL)), ALL),
    ],
)
def test_fixes_are_chosen_by_name(text: str, expected: tuple[str, ...]) -> None:
    assert fixes(text) == expected
    assert fixes(as_text(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device_lists", "has 'device_lists', which is no fix"),
        ("-nothing", "has '-nothing', which is no fix"),
        (f"none, {ALL[0]}", "has 'none', which is no fix"),
        (f"{ALL[0]}, -{ALL[0]}", "has names both with and without -"),
    ],
)
def test_a_wrong_choice_is_refused(text: str, message: str) -> None:
    with pytest.raises(Invalid, match="^" + message) as caught:
        fixes(text)
    assert caught.value.hint.startswith("write ")
