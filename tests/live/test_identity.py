"""A worker deployment's homeserver.yaml serves media; its data directory stays that of one server."""

import json
from collections.abc import Iterator

import pytest

from ganglion.data.secrets import new_signing_key
from tests.flows import register
from tests.harness import Server

# As Synapse's guide for workers has it, with names of workers that are not here.
GUIDE = """\
enable_media_repo: false
media_instance_running_background_jobs: media1
outbound_federation_restricted_to: [federation1]
instance_map:
  main: {host: localhost, port: 9093}
  event_writer1: {host: localhost, port: 8034}
stream_writers: {events: event_writer1, typing: event_writer1}
federation_sender_instances: [federation1]
send_federation: false
start_pushers: false
pid_file: /run/matrix-synapse.pid
redis: {enabled: true}
database:
  name: sqlite3
  txn_limit: 10000
  args: {database: /var/lib/matrix-synapse/homeserver.db}
listeners:
- {port: 8008, type: http, resources: [{names: [client, federation], compress: true}]}
- {port: 9093, type: http, resources: [{names: [replication]}]}
"""
PASSWORD = "pä ss'\"\\:$1"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    environment = {
        "POSTGRES_USER": "syn@x.y",
        "POSTGRES_DB": "m.a-trix",
        "POSTGRES_PASSWORD": PASSWORD,
        "REDIS_PASSWORD": PASSWORD,
        "SYNAPSE_SIGNING_KEY": new_signing_key(),
    }
    with Server(workers="synchrotron", environment=environment, operator_file=GUIDE) as made:
        made.start()
        yield made
