"""A server starts from the database that is prepared in the image."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests import flows
from tests.harness import SHARED_SECRET, wait_until
from tests.image.engine import CLIENT_ENVIRONMENT, Container, container, volume

# Not the names that it was prepared with.
NAMES = {"POSTGRES_DB": "matrix", "POSTGRES_USER": "matrix-user"}


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Container]:
    with container(image, {**CLIENT_ENVIRONMENT, **NAMES, "WORKERS": "none"}) as made:
        made.wait_healthy()
        yield made


def test_the_database_has_the_tables_already(server: Container) -> None:
    log = server.log()
    assert "Synapse now listening" in log
    assert not re.search(r"Applying schema \S+\.sql|Starting update batch", log)


def test_it_works_with_other_names(server: Container) -> None:
    asyncio.run(flows.whole_flow(server.base_url, SHARED_SECRET))


TESTING = {**CLIENT_ENVIRONMENT, "WORKERS": "none", "GANGLION_TEST_MODE": "yes"}
IMAGES_OWN = "/opt/ganglion/database"


def place(server: Container, data: str = "/data") -> str:
    """Return the real path of the cluster."""
    return server.inside("readlink", "--canonicalize", f"{data}/postgres").stdout.strip()


def test_test_mode_uses_the_images_cluster_in_place(image: str) -> None:
    with container(image, TESTING) as server:
        server.wait_healthy()
        assert place(server) == IMAGES_OWN
        kept = asyncio.run(flows.whole_flow(server.base_url, SHARED_SECRET))
        server.stop()
        server.start()
        server.wait_healthy()
        asyncio.run(flows.still_there(server.base_url, kept))


def test_a_volume_gets_a_copy_in_test_mode_too(image: str) -> None:
    with volume() as data, container(image, TESTING, "--volume", f"{data}:/data") as server:
        server.wait_healthy()
        assert place(server) == "/data/postgres"


def test_a_second_data_directory_gets_a_cluster_of_its_own(image: str) -> None:
    """Two data directories in one container, as after a change of GANGLION_DATA."""
    with container(image, TESTING) as server:
        server.wait_healthy()
        again = "GANGLION_DATA=/second GANGLION_RUN=/run/second HTTP_PORT=8009 CONTROL_PORT=9470"
        server.inside("sh", "-c", f"{again} ganglion run > /log 2>&1 & echo $!")
        answer = f"{again} ganglion ready"

        def ready() -> bool:
            return server.inside("sh", "-c", answer, check=False).returncode == 0

        wait_until("second server", ready)
        assert place(server, "/second") == "/second/postgres"
