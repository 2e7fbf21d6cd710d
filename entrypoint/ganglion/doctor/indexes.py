"""The check of PostgreSQL's indexes with amcheck, which takes only a reader's lock.

https://www.postgresql.org/docs/current/amcheck.html
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import Place
from ganglion.machine.unix_accounts import numbers
from ganglion.programs.postgres import server

# The part of the time for all checks that this one spends with indexes, smallest first.
BUDGET = 0.45
# A function in the session's own schema, which ends with the transaction, like all of this.
SCRIPT = """\
\\set ON_ERROR_STOP 1
BEGIN;
SET LOCAL lock_timeout = 200;
SET LOCAL statement_timeout = {statement};
CREATE FUNCTION pg_temp.bt_index_check(regclass) RETURNS void
    AS '$libdir/amcheck', 'bt_index_check' LANGUAGE c STRICT;
DO $$
DECLARE
    item record;
    began timestamptz := clock_timestamp();
    done int := 0;
    problems jsonb := '[]';
BEGIN
    FOR item IN
        SELECT i.indexrelid, i.indexrelid::regclass::text AS label
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p'
            AND i.indisvalid AND i.indisready
        ORDER BY c.relpages, i.indexrelid
    LOOP
        EXIT WHEN clock_timestamp() > began + interval '{budget} milliseconds';
        BEGIN
            PERFORM pg_temp.bt_index_check(item.indexrelid);
            done := done + 1;
        EXCEPTION
            WHEN query_canceled THEN EXIT;
            WHEN index_corrupted OR data_corrupted OR io_error OR undefined_file THEN
                problems := problems || jsonb_build_array(jsonb_build_array(item.label, SQLERRM));
            -- It is locked, or was dropped since the loop began.
            WHEN OTHERS THEN done := done + 1;
        END;
    END LOOP;
    PERFORM set_config('doctor.found', jsonb_build_object('done', done, 'problems', problems)::text,
        true);
END
$$;
SELECT current_setting('doctor.found');
ROLLBACK;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """The indexes that are invalid or corrupt, and how many of all were examined.

    `examined` is None if they could not be: only the administrator of the database may.
    """

    invalid: tuple[str, ...]
    corrupt: tuple[tuple[str, str], ...]
    examined: int | None
    number: int
    repair: dict[str, str]
    all_of_them: str


def observe(place: Place) -> Indexes:
    """Read the catalogue, and have amcheck look at the embedded server's indexes."""
    invalid = tuple(
        label
        for (label,) in place.database.rows(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
            " AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)"
        )
    )
    ((number,),) = place.database.rows(
        "SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
        " WHERE amname = 'btree' AND relkind = 'i' AND relpersistence = 'p'"
    )
    examined = _examine(place)
    corrupt = tuple((label, text) for label, text in examined["problems"]) if examined else ()
    labels = {*invalid, *(label for label, _ in corrupt)}
    return Indexes(
        invalid=invalid,
        corrupt=corrupt,
        examined=examined["done"] + len(corrupt) if examined else None,
        number=number,
        repair={label: _reindex(place, label) for label in labels},
        all_of_them=place.administrator(
            "pg_amcheck", "--install-missing", "-d", place.settings.postgres_db
        ),
    )


def _reindex(place: Place, label: str) -> str:
    if label.startswith("pg_"):
        # The catalogue's indexes are the administrator's.
        database = place.settings.postgres_db
        return place.administrator("psql", "-d", database, "-c", f"REINDEX INDEX {label}")
    return place.psql(f"REINDEX INDEX {label}")


def _examine(place: Place) -> Any:  # noqa: ANN401 - JSON
    """Return the result of the script; None if this account is not the administrator's."""
    settings, account = place.settings, place.accounts.get(server.NAME)
    if not settings.embedded_postgres or place.postgres_bin is None:
        return None
    # Half of the budget is for the last index: the statement ends in any case.
    limit = place.database.limit / 0.3 * BUDGET
    script = SCRIPT.format(statement=int(limit), budget=int(limit / 2))
    command = [
        f"{place.postgres_bin}/psql",
        *("-XAtq", "-h", settings.paths.postgres_sockets, "-d", settings.postgres_db),
        *("-U", place.postgres_role),
    ]
    try:
        user, group = numbers(account) if account else (None, None)
        answer = subprocess.run(
            command,
            input=script,
            user=user,
            group=group,
            extra_groups=[] if account else None,
            env={"LC_ALL": "C", "PATH": place.postgres_bin, "PGCONNECT_TIMEOUT": "2"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=limit / 1000 + 2,
            check=False,
        )
        return json.loads(answer.stdout) if answer.returncode == 0 else None
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return None


def judge(found: Indexes) -> Iterator[Finding]:
    """Judge the indexes."""
    for label, text in found.corrupt:
        yield bad(
            f"the index {label} is corrupt: {text}",
            "rows are not found or found twice; a disk, the memory or a change of the collation is"
            " the cause",
            found.repair[label],
            f"{found.all_of_them}    # then examine all of them",
        )
    for label in found.invalid:
        yield notice(
            f"the index {label} is invalid: making it was interrupted",
            "queries do not use it and are slow, and writes still pay for it",
            found.repair[label],
        )
    if found.corrupt or found.invalid:
        return
    if found.examined is None:
        yield good(
            f"{found.number} indexes are valid; to examine their content: {found.all_of_them}"
        )
    elif found.examined < found.number:
        yield good(
            f"the {found.examined} smallest of {found.number} indexes are in order; to examine all:"
            f" {found.all_of_them}"
        )
    else:
        yield good(f"all {found.number} indexes are in order")


CHECKS = (
    Check(
        name="indexes",
        about="corrupt indexes, with amcheck as far as the time allows, and indexes that are"
        " invalid",
        observe=observe,
        judge=judge,
    ),
)
