"""Reading the output of wrk."""

import pytest

from benchmarks import wrk


def test_parse_reads_the_summary_of_wrk() -> None:
    load = wrk.parse(
        "Running 2s test @ http://127.0.0.1:1\n  8 threads and 8 connections\n"
        'summary {"requests": 500, "microseconds": 2000000, "p50": 900, "p95": 1500, "p99": 12000,'
        ' "errors": 3}\n'
    )
    assert load == wrk.Load(requests=500, per_second=250, p50=0.9, p95=1.5, p99=12.0, errors=3)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("unable to connect to 127.0.0.1:1 Connection refused\n", "wrk printed no summary"),
        (
            'summary {"requests": 0, "microseconds": 1, "p50": 0, "p95": 0, "p99": 0, "errors": 8}',
            "nothing was answered",
        ),
    ],
)
def test_output_of_wrk_without_responses_is_an_error(output: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrk.parse(output)
