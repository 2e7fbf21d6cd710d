"""The image brings no keys: all who use it would share them."""

import re

from tests.image.engine import run

# The rows of a new database: Synapse's schema, and positions in streams.
BOOKKEEPING = {
    "applied_schema_deltas",
    "appservice_stream_position",
    "cache_invalidation_stream_by_instance",
    "delayed_events_stream_pos",
    "device_lists_changes_converted_stream_position",
    "device_lists_changes_in_room_max_pruned_stream_id",
    "event_push_summary_last_receipt_stream_id",
    "event_push_summary_stream_ordering",
    "federation_stream_position",
    "room_forgetter_stream_pos",
    "scheduled_tasks",
    "schema_compat_version",
    "schema_version",
    "stats_incremental_position",
    "user_directory_stream_pos",
}
# Names the tables that have rows, from a copy of the cluster.
FILLED = """\
bin=$(ls -d /usr/lib/postgresql/*/bin)
cp -a /opt/ganglion/database /tmp/database
chmod 700 /tmp/database
cat >/tmp/query
cd / && setpriv --reuid=postgres --regid=postgres --clear-groups \
    "$bin/postgres" --single -j -D /tmp/database synapse </tmp/query
"""
QUERY = """\
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND (
  xpath('/row/c/text()', query_to_xml(
    format('SELECT count(*) AS c FROM %I', table_name), false, true, ''))
)[1]::text::int > 0;
"""
KEYS = """\
find / -xdev -type f '(' -name '*.key' -o -name server.json -o -path '*/secrets/*' ')' \
    ! -path '*/site-packages/*' ! -path '*/__pycache__/*'
"""


def test_the_prepared_database_has_no_keys_and_no_accounts(image: str) -> None:
    words = ("docker", "run", "--rm", "--interactive", "--entrypoint", "sh", image, "-c", FILLED)
    answer = run(*words, stdin=QUERY.encode())
    found = set(re.findall(r'table_name = "(\w+)"', answer.stdout))
    assert "schema_version" in found
    assert found <= BOOKKEEPING


def test_no_file_of_the_image_is_a_key(image: str) -> None:
    answer = run("docker", "run", "--rm", "--entrypoint", "sh", image, "-c", KEYS)
    assert answer.stdout == ""
