"""Each start says where the control port listens."""

import pytest

from ganglion.settings import environment
from tests.plans import problems, said, settings


def notes(**environ: str) -> list[str]:
    found = environment.notes(environ, settings(**environ))
    return [note for note in found if " are at " in note]


KEEP = "keep them from the public"
PUBLISHED = (
    "only this machine or container reaches them. To publish the port of a container, set"
    " CONTROL_BIND_ADDRESS=* and publish it on a private address, as in docker run -p"
    " 127.0.0.1:9469:9469"
)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        (
            {"GANGLION_TEST_MODE": "yes"},
            [f"the test controls are at 127.0.0.1:9469; {PUBLISHED}"],
        ),
        (
            {"SYNAPSE_ENABLE_METRICS": "yes", "CONTROL_BIND_ADDRESS": "::1"},
            [f"the metrics are at [::1]:9469; {PUBLISHED}"],
        ),
        (
            {"GANGLION_TEST_MODE": "1", "SYNAPSE_ENABLE_METRICS": "1", "CONTROL_BIND_ADDRESS": "*"},
            [f"the test controls and the metrics are at port 9469 of every address; {KEEP}"],
        ),
        (
            {"GANGLION_TEST_MODE": "1", "CONTROL_BIND_ADDRESS": "10.1.2.3", "CONTROL_PORT": "1"},
            [f"the test controls are at 10.1.2.3:1; {KEEP}"],
        ),
    ],
)
def test_where_it_listens(environ: dict[str, str], expected: list[str]) -> None:
    assert notes(**environ) == expected


def test_a_host_that_is_none() -> None:
    assert problems(lambda: settings(CONTROL_HOSTS="a, b c")) == [
        said(
            "CONTROL_HOSTS='a, b c'",
            "is not a host name or IP address",
            "write a host name such as db.example.org",
        )
    ]
