"""Tables and their numbers."""

import pytest

from benchmarks import results
from benchmarks.results import Result, Table
from benchmarks.tests.sample import a_result


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    assert results.ratio([4.0, 9.0, 8.0], [2.0, 3.0, 1.0]) == 3.0
    assert results.ratio([1.0], [1.0, 2.0]) is None
    assert results.ratio([1.0], [0.0]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1234"), (12.345, "12.3"), (1.0, "1.00"), (0.01234, "0.0123")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert results.number(value) == text


def test_cells_hold_median_spread_and_ratio() -> None:
    titles, rows = results.cells(a_result().tables[0])
    assert titles == ["", "a", "b|c"]
    assert rows == [
        ["first <boot>", "3.00 (2.00 to 4.00)", f"5.00 (4.00 to 6.00) {results.TIMES}1.75"],
        ["later", "0.500", ""],
    ]


def test_the_slope_is_that_of_the_least_squares_line() -> None:
    assert results.least_squares({1: 10, 2: 12, 3: 14}) == pytest.approx(2)


def test_the_command_is_reported_without_its_output_options() -> None:
    words = ["--json", "x.json", "--with", "A=1 B=2", "--plot=x.svg", "--image", "i", "--only"]
    assert results.command_line("load", words) == "scripts/bench load --with 'A=1 B=2' --only"


def test_a_result_written_and_loaded_is_equal() -> None:
    assert Result.load(a_result().as_json()) == a_result()


def test_cases_add_up() -> None:
    table = Table(title="Cases", unit="number")
    for number in (0, 1, 2):
        table.add("backup", "failed", number)
    table.add("backup", "killed", 1)
    table.add_up()
    assert table.rows == {"backup": {"failed": [3], "killed": [1]}}
