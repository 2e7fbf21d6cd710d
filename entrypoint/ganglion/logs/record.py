"""Read the lines of each program into records, and write records as JSON.

A program that knows nothing of JSON prints lines of its own form. A record has what all of these
have in common: time, level, message and, from Synapse and nginx, the ID of a request.
"""

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

DEBUG, INFO, WARNING, ERROR, CRITICAL = "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"
# In ascending order.
LEVELS = (DEBUG, INFO, WARNING, ERROR, CRITICAL)
SYNAPSE = "synapse"
TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record. `time` is in seconds since 1970. `logger` is Synapse's name of a part of it,
    `task` that of its work without a request.

    `continues` says that the record's beginning was printed earlier, and is in an earlier record.
    """

    time: float
    level: str
    message: str
    request: str | None = None
    task: str | None = None
    logger: str | None = None
    continues: bool = False


# The levels of all programs: nginx, Redis, PostgreSQL, gunicorn and supervisord abbreviate.
_WORDS = {
    "DEBUG": DEBUG, "INFO": INFO, "NOTICE": INFO, "LOG": INFO, "WARNING": WARNING, "ERROR": ERROR,
    "FATAL": CRITICAL, "PANIC": CRITICAL, "CRITICAL": CRITICAL, "WARN": WARNING, "ERRO": ERROR,
    "CRIT": CRITICAL, "ALERT": CRITICAL, "EMERG": CRITICAL, "DEBG": DEBUG, "TRAC": DEBUG,
    "BLAT": DEBUG, ".": DEBUG, "-": INFO, "*": INFO, "#": WARNING,
    **{f"DEBUG{number}": DEBUG for number in range(1, 6)},
}  # fmt: skip
_TIME = r"(?P<time>\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d(?:[.,]\d{3})?)"
# The first line of a record, by program.
_BEGINNINGS = {
    SYNAPSE: re.compile(
        _TIME + r" - (?P<logger>\S+) - \d+ - (?P<level>[A-Z]+) - (?P<request>.*?) - (?P<message>.*)"
    ),
    "nginx": re.compile(
        rf"(?:{_TIME} \[(?P<level>\w+)\] |nginx: \[(?P<bare>\w+)\] "
        r"|(?P<epoch>\d+\.\d{3}) \[access\] (?P<request>\S+) )(?P<message>.*)"
    ),
    "redis": re.compile(
        r"\d+:[A-Z] (?P<time>\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) (?P<level>[.*#-])"
        r" (?P<message>.*)"
    ),
    "postgres": re.compile(
        _TIME + r" (?P<zone>UTC) \[\d+\] (?:\S*@\S* )?(?P<level>[A-Z]+\d?):  (?P<message>.*)"
    ),
    "control": re.compile(
        r"\[(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] \[\d+\] \[(?P<level>\w+)\]"
        r" (?P<message>.*)"
    ),
    "supervisor": re.compile(_TIME + r" (?P<level>[A-Z]{4,8}) (?P<message>.*)"),
}
# Further lines of a message of PostgreSQL have a time of their own.
_MORE = re.compile(
    r"\S+ \S+ UTC \[\d+\] .*?((?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION):  .*)"
)
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception|Interrupt|Exit)\b")
_METHOD = re.compile(r"[A-Z]+-(?=.)")
_ID = re.compile(r"[0-9a-f]{32}")
# The status behind the request in a line of nginx's access log.
_FAILED = re.compile(r'" 5\d\d ')


@dataclass(slots=True)
class Reader:
    """Reads the lines of one program: `kind` is the program's name, or `synapse`.

    It keeps the last record, because lines may follow it later.
    """

    kind: str
    _last: Record | None = field(default=None)

    def read(self, lines: Iterable[str], now: float) -> list[Record]:
        """Return the records of lines that were printed together, in order.

        `now` is the time of those that have none of their own.
        """
        found: list[Record] = []
        for line in lines:
            record = self._begins(line, now)
            if record is not None:
                found.append(record)
            elif found and self._belongs(found[-1], line):
                more = _MORE.match(line) if self.kind == "postgres" else None
                text = f"{found[-1].message}\n{more[1] if more else line}"
                found[-1] = replace(found[-1], message=text)
            else:
                found.append(self._loose(line, now, found[-1] if found else self._last))
        if found:
            self._last = found[-1]
        return found

    def _begins(self, line: str, now: float) -> Record | None:
        """Return the record that a line begins."""
        pattern = _BEGINNINGS.get(self.kind)
        if pattern is None:
            # Ganglion's own lines are sentences.
            return None if line[:1].isspace() else Record(time=now, level=INFO, message=line)
        match = pattern.match(line)
        if match is None or (self.kind == "postgres" and _MORE.match(line)):
            return None
        parts = match.groupdict()
        if parts.get("epoch"):
            level = WARNING if _FAILED.search(line) else INFO
            return Record(
                time=float(parts["epoch"]),
                level=level,
                message=parts["message"],
                request=parts["request"],
            )
        level = _WORDS.get((parts["level"] or parts.get("bare") or "").upper(), INFO)
        time = _seconds(self.kind, parts["time"], now) if parts["time"] else now
        return Record(
            time=time,
            level=level,
            message=parts["message"],
            request=request_of(parts.get("request")),
            task=task_of(parts.get("request")),
            logger=parts.get("logger"),
        )

    def _belongs(self, before: Record, line: str) -> bool:
        """Return whether a line that begins no record of a known form follows `before`."""
        if line[:1].isspace() or not line or (self.kind == "postgres" and _MORE.match(line)):
            return True
        # The last line of a traceback that Python itself printed.
        last = before.message.rpartition("\n")[2]
        return before.message.startswith(TRACEBACK) and last[:1].isspace()

    def _loose(self, line: str, now: float, before: Record | None) -> Record:
        """Return the record of a line that begins none, and follows none printed with it."""
        if before is not None and line[:1].isspace():
            return replace(before, message=line, continues=True)
        failed = line.startswith(TRACEBACK) or _EXCEPTION.match(line)
        return Record(time=now, level=ERROR if failed else INFO, message=line)


def request_of(text: str | None) -> str | None:
    """Return the ID of a request from Synapse's name of it, `METHOD-ID`, or from nginx's."""
    if not text or text == "-":
        return None
    if _ID.fullmatch(text):
        return text
    match = _METHOD.match(text)
    return text[match.end() :] if match else None


def task_of(text: str | None) -> str | None:
    """Return Synapse's name of work without a request."""
    if not text or text in ("None", "sentinel", "-") or request_of(text) is not None:
        return None
    return text


def _seconds(kind: str, text: str, now: float) -> float:
    try:
        return _parsed(kind, text)
    except (ValueError, OverflowError, OSError):
        return now


@lru_cache(maxsize=64)
def _parsed(kind: str, text: str) -> float:
    """Return a program's own time: that of the machine's zone, unless the program says another."""
    if kind == "redis":
        return dt.datetime.strptime(text, "%d %b %Y %H:%M:%S.%f").timestamp()  # noqa: DTZ007
    if kind == "control":
        return dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").timestamp()
    found = dt.datetime.fromisoformat(text.replace("/", "-").replace(",", "."))
    return (found.replace(tzinfo=dt.UTC) if kind == "postgres" else found).timestamp()


def timestamp(seconds: float) -> str:
    """Return a time as RFC 3339 has it, in UTC, with milliseconds."""
    found = dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")
    return found.replace("+00:00", "Z")


def as_json(record: Record, process: str, role: str) -> str:
    """Return a record as one line of JSON, without a line break."""
    values = {
        "time": timestamp(record.time),
        "process": process,
        "role": role,
        "level": record.level,
        "message": record.message,
        **({} if record.request is None else {"request": record.request}),
        **({} if record.task is None else {"task": record.task}),
        **({} if record.logger is None else {"logger": record.logger}),
        **({"continues": True} if record.continues else {}),
    }
    return _ENCODER.encode(values)


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def is_of(record: Record, request: str) -> bool:
    """Return whether a record is of a request, or of work for a part of it: its ID and `-PART`."""
    found = record.request or ""
    return found == request or found.startswith(f"{request}-")


def at_least(level: str) -> Iterator[str]:
    """Yield the levels from `level` on."""
    yield from LEVELS[LEVELS.index(level) :]
