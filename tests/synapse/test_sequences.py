"""The doctor's table of sequences, against the source of the installed Synapse."""

import ast
from collections.abc import Iterator
from pathlib import Path

import synapse.storage

from ganglion.doctor.sequences import SEQUENCES

# It numbers the names of guests, and has no table of its own.
WITHOUT_TABLE = "user_id_seq"
# Streams whose name is an attribute of a class.
NAMES = {"QuarantinedMediaStream.NAME": "quarantined_media"}


def calls() -> Iterator[tuple[str, str | None, set[tuple[str, str]], bool]]:
    """Yield the sequence, stream, columns and direction of each generator of IDs."""
    for path in Path(synapse.storage.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            given = {item.arg: item.value for item in node.keywords}
            if name_of(node) == "MultiWriterIdGenerator":
                columns = {(row[0], row[2]) for row in ast.literal_eval(given["tables"])}
                stream = ast.unparse(given["stream_name"])
                positive = "positive" not in given or ast.literal_eval(given["positive"])
                yield (
                    ast.literal_eval(given["sequence_name"]),
                    NAMES.get(stream) or ast.literal_eval(stream),
                    columns,
                    not positive,
                )
            elif name_of(node) == "build_sequence_generator" and len(node.args) > 3:
                sequence = ast.literal_eval(node.args[3])
                column = (ast.literal_eval(given["table"]), ast.literal_eval(given["id_column"]))
                yield sequence, None, set() if column[0] is None else {column}, False


def name_of(node: ast.Call) -> str:
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def test_the_table_has_every_sequence_of_the_installed_synapse() -> None:
    found = {sequence: rest for sequence, *rest in calls() if sequence != WITHOUT_TABLE}
    ours = {item.name: [item.stream, set(item.columns), item.negative] for item in SEQUENCES}
    assert len(found) > 15
    assert ours == found
