"""A module and an S3 storage provider from PyPI, installed in one step, on workers."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.account_flows import upload
from tests.harness import GANGLION, SHARED_SECRET, Server
from tests.matrix import Clients, eventually

PACKAGES = ("synapse-auto-accept-invite==1.2.0", "synapse-s3-storage-provider==1.7.0")
# In seconds: pip downloads 15 MB.
INSTALL_WITHIN = 600
FILE = """\
modules:
  - module: synapse_auto_accept_invite.InviteAutoAccepter
    config: {{worker_to_run_on: client_reader1}}
media_storage_providers:
  - module: s3_storage_provider.S3StorageProviderBackend
    store_local: true
    store_remote: true
    store_synchronous: true
    config:
      bucket: media
      endpoint_url: "http://127.0.0.1:{port}"
      region_name: us-east-1
      access_key_id: key
      secret_access_key: secret
"""


@pytest.fixture
def objects() -> Iterator[tuple[int, dict[str, bytes]]]:
    """The port of a server that stores as S3 does, and the objects that it has."""
    stored: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("ETag", '"tag"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port, stored
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(1200)
def test_a_module_and_a_storage_provider(objects: tuple[int, dict[str, bytes]]) -> None:
    port, stored = objects
    workers = "client_reader, media_repository"
    with Server(workers, operator_file=FILE.format(port=port)) as server:
        subprocess.run(
            [*GANGLION, "install-module", "--data", *PACKAGES],
            env=server.environment,
            check=True,
            capture_output=True,
            timeout=INSTALL_WITHIN,
        )
        server.start()
        for name in ("main", "client_reader1", "media_repository1"):
            server.log.wait_for(rf"^{name} \| .*Loaded module .*InviteAutoAccepter")
        image = asyncio.run(use(server))
    assert image in stored.values()


async def use(server: Server) -> bytes:
    """Invite a user who does nothing and is a member then. Upload an image and return it."""
    async with Clients(server.base_url) as clients:
        alice, bob = [
            await clients.register_with_secret(name, SHARED_SECRET) for name in ("alice", "bob")
        ]
        body = {"invite": [bob.nio.user_id]}
        room = (await alice.call("POST", "/_matrix/client/v3/createRoom", body))["room_id"]

        async def joined() -> None:
            assert (
                room in (await bob.call("GET", "/_matrix/client/v3/joined_rooms"))["joined_rooms"]
            )

        await eventually(joined)
        _, image = await upload(alice)
        return image
