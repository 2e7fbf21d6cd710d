"""The table of the paths that read, and a function for each."""

import json
from dataclasses import asdict
from functools import partial
from typing import Any

from ganglion import __version__
from ganglion.control import programs
from ganglion.control.application import Answer, Asked, View
from ganglion.control.config import Watched
from ganglion.control.metrics.scrape import Scrapes
from ganglion.control.refusal import Refusal
from ganglion.topology.scrape_targets import targets


def views(watched: Watched, scrapes: Scrapes) -> tuple[View, ...]:
    """Return the paths of every server."""
    return (
        View(pattern=r"/", answer=partial(_index, watched, scrapes)),
        View(pattern=r"/live", answer=_live, open=True),
        # For nginx, which asks it before it passes on a request for metrics.
        View(pattern=r"/token", answer=_live),
        View(pattern=r"/processes", answer=partial(_processes, watched)),
        View(pattern=r"/metrics", answer=scrapes.answer, parameters=("only",)),
        View(pattern=r"/metrics/service_discovery", answer=partial(_targets, watched)),
    )


def as_json(value: Any, status: int = 200) -> Answer:  # noqa: ANN401 - anything that JSON has
    """Return a value as the content of a response."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return Answer(content=text.encode("utf-8", "replace") + b"\n", status=status)


def _index(watched: Watched, scrapes: Scrapes, _asked: Asked) -> Answer:
    hidden = ["/", "/token"]
    if not watched.settings.enable_metrics:
        hidden.append("/metrics/service_discovery")
    paths = [view.pattern for view in views(watched, scrapes) if view.pattern not in hidden]
    if watched.settings.enable_metrics:
        paths += [f"/metrics/worker/{process.name}" for process in watched.topology().here]
    return as_json({"ganglion": __version__, "paths": paths})


def _targets(watched: Watched, asked: Asked) -> Answer:
    """Answer as Prometheus's http_sd_config wants it: the metrics are at the address it asked."""
    if not watched.settings.enable_metrics:
        raise Refusal(404, "the metrics are off; set SYNAPSE_ENABLE_METRICS=yes")
    return as_json(targets(watched.topology(), asked.host, own=True))


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
