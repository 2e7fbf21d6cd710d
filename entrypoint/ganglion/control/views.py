"""The table of the paths that read, and a function for each."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ganglion import __version__
from ganglion.control import programs
from ganglion.control.application import Answer, Asked, View, as_json
from ganglion.control.config import Watched
from ganglion.control.lag import worst
from ganglion.control.metrics.scrape import Scrapes
from ganglion.control.monitor import Monitor
from ganglion.control.page import files
from ganglion.control.page.sight import Sight
from ganglion.control.refusal import Refusal
from ganglion.control.snapshot import MOST_LAG
from ganglion.control.verdict import Word
from ganglion.settings import parsers
from ganglion.topology.scrape_targets import targets

FORMATS = ("json", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that looks at the server for the views."""

    scrapes: Scrapes
    monitor: Monitor
    sight: Sight


def views(watched: Watched, seen: Seen) -> tuple[View, ...]:
    """Return the paths of every server."""
    return (
        View(
            pattern=r"/ready",
            answer=partial(_ready, watched, seen.monitor),
            open=True,
            parameters=("lag", "format"),
        ),
        View(pattern=r"/health", answer=partial(_health, seen.monitor), parameters=("format",)),
        View(pattern=r"/", answer=partial(_index, watched, seen)),
        *files.views(seen.sight),
        View(pattern=r"/live", answer=_live, open=True),
        # For nginx, which asks it before it passes on a request for metrics.
        View(pattern=r"/token", answer=_live),
        View(pattern=r"/processes", answer=partial(_processes, watched)),
        View(pattern=r"/metrics", answer=seen.scrapes.answer, parameters=("only",)),
        View(pattern=r"/metrics/service_discovery", answer=partial(_targets, watched)),
    )


def _index(watched: Watched, seen: Seen, asked: Asked) -> Answer:
    """Answer with the status page to a browser, and with the list of paths to others."""
    if "text/html" in asked.accept:
        return files.page(asked)
    hidden = ["/", "/token"]
    if not watched.settings.enable_metrics:
        hidden.append("/metrics/service_discovery")
    paths = [
        view.pattern.replace("\\", "")
        for view in views(watched, seen)
        if view.pattern not in hidden
    ]
    if watched.settings.enable_metrics:
        paths += [f"/metrics/worker/{process.name}" for process in watched.topology().here]
    return as_json({"ganglion": __version__, "paths": paths})


def _targets(watched: Watched, asked: Asked) -> Answer:
    """Answer as Prometheus's http_sd_config wants it: the metrics are at the address it asked."""
    if not watched.settings.enable_metrics:
        raise Refusal(404, "the metrics are off; set SYNAPSE_ENABLE_METRICS=yes")
    return as_json(targets(watched.topology(), asked.host, own=True))


def _ready(watched: Watched, monitor: Monitor, asked: Asked) -> Answer:
    """Say whether every part works; the reasons only to those that need no token for them."""
    try:
        lag = parsers.duration(asked.query["lag"]) if "lag" in asked.query else MOST_LAG
    except parsers.Invalid as error:
        raise Refusal(400, f"lag {error.message}; {error.hint}") from error
    ready, reasons = monitor.snapshot().ready(lag)
    found: dict[str, Any] = {"ready": ready}
    if watched.token is None:
        found["reasons"] = reasons
    return _formatted(asked, found, reasons if watched.token is None else str(ready), ready)


def _health(monitor: Monitor, asked: Asked) -> Answer:
    """Say of each part whether it works. Times are in seconds."""
    found = monitor.snapshot()
    verdict = found.verdict
    value = {
        "state": verdict.word.value,
        "words": verdict.sentence(),
        "problems": dict(verdict.problems),
        "checks": [
            {
                "name": item.name,
                "process": item.process,
                "state": item.state.value,
                "words": item.words,
                "for": None if item.since is None else round(found.at - item.since, 1),
                "age": None if item.asked is None else round(found.at - item.asked, 1),
            }
            for item in found.checks
        ],
        "behind": {
            name: {"stream": stream, "seconds": round(seconds, 1)}
            for name, (stream, seconds) in worst(found.lags).items()
        },
        "age": round(found.age, 1),
    }
    serves = verdict.word in (Word.READY, Word.DEGRADED)
    return _formatted(asked, value, verdict.sentence(), serves)


def _formatted(asked: Asked, found: dict[str, Any], words: str, good: bool) -> Answer:  # noqa: FBT001
    """Answer in JSON or in words, with 200 or 503."""
    chosen = asked.query.get("format", "")
    if chosen not in (*FORMATS, ""):
        raise Refusal(400, f"unknown format; write {' or '.join(FORMATS)}")
    status = 200 if good else 503
    text_wanted = asked.accept.startswith("text/plain") if not chosen else chosen == "text"
    if text_wanted:
        content = words.encode("utf-8", "replace") + b"\n"
        return Answer(content=content, kind="text/plain; charset=utf-8", status=status)
    return as_json(found, status)


def _live(_asked: Asked) -> Answer:
    """Depend on nobody: this process and nginx work."""
    return as_json({"live": True})


def _processes(watched: Watched, _asked: Asked) -> Answer:
    try:
        found = programs.ask(watched.states)
    except (OSError, ValueError) as error:
        raise Refusal(503, f"the supervisor does not answer: {error}") from error
    roles = {process.name: list(process.roles) for process in watched.topology().processes}
    items = [
        {**asdict(item), "roles": roles.get(item.name, [])} for item in found.programs.values()
    ]
    return as_json({"processes": items, "start": found.start})
