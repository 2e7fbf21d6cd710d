"""The database that the image brings is the one that a server has."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests import flows
from tests.harness import SHARED_SECRET
from tests.image.engine import CLIENT_ENVIRONMENT, Container, container

# Other names than those it was prepared with.
NAMES = {"POSTGRES_DB": "matrix", "POSTGRES_USER": "matrix-user"}


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Container]:
    with container(image, {**CLIENT_ENVIRONMENT, **NAMES, "WORKERS": "none"}) as made:
        made.wait_healthy()
        yield made


def test_it_has_synapses_tables_already(server: Container) -> None:
    log = server.log()
    assert "Synapse now listening" in log
    assert not re.search(r"Applying schema \S+\.sql|Starting update batch", log)


def test_it_serves_under_names_of_its_own(server: Container) -> None:
    asyncio.run(flows.whole_flow(server.base_url, SHARED_SECRET))
