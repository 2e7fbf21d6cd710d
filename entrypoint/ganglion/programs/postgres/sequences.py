"""The sequences that number Synapse's streams: how far they are, and how to move them forward.

A sequence that is behind the numbers in use would give one out twice. That is the state after a
failover to a server that does not replicate sequences, and after a restore of some tables only.
Synapse refuses to start then: synapse/storage/util/sequence.py, check_consistency.
"""

import ast
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Both classes are in synapse/storage/util; their calls name every sequence.
GENERATOR = "MultiWriterIdGenerator"
BUILDER = "build_sequence_generator"
CALL = re.compile(rf"(?<!class )\b(?:{GENERATOR}|{BUILDER})\(")
# Where the parameters of the builder stand that have no keyword.
BUILDER_PARAMETERS = (
    "db_conn",
    "database_engine",
    "get_first_callback",
    "sequence_name",
    "table",
    "id_column",
    "stream_name",
    "positive",
)

# Names that need no schema in front of them.
VISIBLE = "SELECT relname::text FROM pg_class WHERE pg_table_is_visible(oid)"
OWNED = (
    "SELECT quote_ident(s.relname), quote_ident(t.relname), quote_ident(a.attname)"
    " FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i')"
    " AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass"
    " JOIN pg_class t ON t.oid = d.refobjid"
    " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid"
    " WHERE s.relkind = 'S' AND pg_table_is_visible(s.oid) AND pg_table_is_visible(t.oid)"
    " ORDER BY 1"
)

# Returns the rows of a query.
Rows = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A sequence of Synapse's.

    `stream` is the name in stream_positions of the stream that it numbers, if it numbers one.
    `columns` are the tables and columns that hold its numbers. They are negated in the tables if
    `negative`, as those of backfilled events are.
    """

    name: str
    stream: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    negative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a sequence is.

    `value` is the last number that it gave out. `position` is the greatest one in
    stream_positions, `used` the greatest one in the tables, and `where` that table and column.
    """

    sequence: Sequence
    value: int
    position: int = 0
    used: int = 0
    where: str = ""

    @property
    def behind(self) -> bool:
        """Whether a number in use is greater than the sequence's."""
        return self.value < self.greatest

    @property
    def greatest(self) -> int:
        """The greatest number in use."""
        return max(self.position, self.used)

    @property
    def stops_synapse(self) -> bool:
        """Whether Synapse refuses to start. If only `used` is ahead, it moves the sequence."""
        return self.value < self.position


def states(rows: Rows, *, tables: bool = True) -> tuple[State, ...]:
    """Compare each sequence of the database with the numbers in use. Changes nothing.

    `rows` runs a query. Without `tables` only stream_positions is read, which has one row for each
    writer of a stream. The columns have indexes, except for a few small tables. Sequences that
    belong to a column of a table are among them.
    """
    there = {str(name) for (name,) in rows(VISIBLE)}
    # An older schema lacks some.
    present = [item for item in (*installed(), *_owned(rows)) if item.name in there]
    if not present or "stream_positions" not in there:
        return ()
    values: dict[str, int] = dict(rows(" UNION ALL ".join(_value(item.name) for item in present)))
    positions: dict[str | None, int] = dict(
        rows("SELECT stream_name, max(abs(stream_id)) FROM stream_positions GROUP BY stream_name")
    )
    found = _used(rows, present, there) if tables else {}
    return tuple(
        State(
            sequence=item,
            value=values[item.name],
            position=positions.get(item.stream, 0),
            used=found.get(item.name, (0, ""))[0],
            where=found.get(item.name, (0, ""))[1],
        )
        for item in present
    )


def _owned(rows: Rows) -> Iterator[Sequence]:
    """The sequences that belong to a column each, such as a serial one. Synapse checks none."""
    for name, table, column in rows(OWNED):
        yield Sequence(name=str(name), columns=((str(table), str(column)),))


def _value(name: str) -> str:
    """The query for the last number that a sequence gave out."""
    # Before the first number, last_value is the number to come.
    return f"SELECT '{name}', last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM {name}"  # noqa: S608


def _used(rows: Rows, present: Iterable[Sequence], there: set[str]) -> dict[str, tuple[int, str]]:
    """The greatest number in the tables of each sequence, and the column that has it."""
    queries = [
        f"SELECT '{item.name}', '{table}.{column}',"  # noqa: S608
        f" coalesce({f'-min({column})' if item.negative else f'max({column})'}, 0) FROM {table}"
        for item in present
        for table, column in item.columns
        if table in there
    ]
    found: dict[str, tuple[int, str]] = {}
    for name, where, number in rows(" UNION ALL ".join(queries)) if queries else ():
        found[name] = max(found.get(name, (0, "")), (int(number), where))
    return found


def forward(name: str, least: int) -> tuple[str, str]:
    """The statements of one transaction that move a sequence to `least`, and never back.

    ALTER SEQUENCE takes a lock that makes nextval() wait until the transaction ends, so a process
    that asks for a number meanwhile gets a new one. It needs the sequence's owner.
    """
    # It changes nothing: no sequence of Synapse's starts again at its end.
    lock = f"ALTER SEQUENCE {name} NO CYCLE"
    behind = f"last_value - CASE WHEN is_called THEN 0 ELSE 1 END < {least}"
    return lock, f"SELECT setval('{name}', {least}) FROM {name} WHERE {behind}"  # noqa: S608


def repair(rows: Rows, found: Iterable[State]) -> tuple[State, ...]:
    """Move those of `found` forward that are behind, and return these.

    `rows` also runs statements without rows, all in one transaction, which the caller commits.
    """
    behind = tuple(state for state in found if state.behind)
    for state in behind:
        for statement in forward(state.sequence.name, state.greatest):
            rows(statement)
    return behind


def installed() -> tuple[Sequence, ...]:
    """Return the sequences of the installed Synapse, by name. Synapse is not imported.

    They stand in its calls of GENERATOR and BUILDER. Raises LookupError for a call that cannot be
    read.
    """
    spec = importlib.util.find_spec("synapse")
    if spec is None or spec.origin is None:
        raise LookupError("Synapse is not installed")
    root = Path(spec.origin).parent
    found = {
        item.name: item
        for path in sorted(root.joinpath("storage", "databases").rglob("*.py"))
        for item in _calls(path, root)
    }
    return tuple(found[name] for name in sorted(found))


def _calls(path: Path, root: Path) -> Iterator[Sequence]:
    text = path.read_text(encoding="utf-8")
    for match in CALL.finditer(text):
        call = _expression(text[match.start() :])
        if call is None:
            raise LookupError(f"{path} has a call of {match[0]}) that cannot be read")
        try:
            yield _sequence(_arguments(call), root)
        except (KeyError, TypeError, ValueError) as error:
            raise LookupError(f"{path} has an unknown call: {ast.unparse(call)}") from error


def _expression(text: str) -> ast.Call | None:
    """Parse the call that `text` starts with. To parse whole modules would take a second."""
    end = 0
    while end := text.find(")", end) + 1:
        try:
            found = ast.parse(text[:end], mode="eval").body
        except SyntaxError:
            continue
        return found if isinstance(found, ast.Call) else None
    return None


def _arguments(call: ast.Call) -> Mapping[str, ast.expr]:
    named = {item.arg: item.value for item in call.keywords if item.arg is not None}
    return {**dict(zip(BUILDER_PARAMETERS, call.args, strict=False)), **named}


def _sequence(arguments: Mapping[str, ast.expr], root: Path) -> Sequence:
    if "tables" in arguments:
        tables = ast.literal_eval(arguments["tables"])
        columns = tuple((table, column) for table, _, column in tables)
    else:
        table, column = (_text(arguments.get(name), root) for name in ("table", "id_column"))
        columns = () if table is None or column is None else ((table, column),)
    positive = arguments.get("positive")
    return Sequence(
        name=ast.literal_eval(arguments["sequence_name"]),
        stream=_text(arguments.get("stream_name"), root),
        columns=columns,
        negative=positive is not None and not ast.literal_eval(positive),
    )


def _text(value: ast.expr | None, root: Path) -> str | None:
    """The text of a literal, or of a stream's class such as QuarantinedMediaStream.NAME."""
    if value is None:
        return None
    if not isinstance(value, ast.Attribute):
        found: str | None = ast.literal_eval(value)
        return found
    name = ast.unparse(value.value)
    for path in root.joinpath("replication", "tcp", "streams").glob("*.py"):
        pattern = rf'^class {name}\b[^\0]*?^    {value.attr}\b[^=\n]*= "([^"]+)"'
        match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            return match[1]
    raise ValueError(name)
