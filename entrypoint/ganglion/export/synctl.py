"""synctl: the files that Synapse's own `synctl start` takes.

`synctl start homeserver.yaml -a workers` starts the files of a directory in the order of their
names, and waits for each until its database is ready. So main's file comes first.
"""

from collections.abc import Iterator
from dataclasses import replace

from ganglion.export.place import Place
from ganglion.export.synapse import (
    HOMESERVER,
    homeserver,
    log_path,
    logging,
    worker,
    worker_path,
    yaml_file,
)
from ganglion.files.file import File
from ganglion.programs import nginx
from ganglion.programs.program import Plan
from ganglion.programs.synapse.options import secret_files
from ganglion.topology.topology import Process

# Before the file of any worker, whose names start with a letter.
FIRST = "workers/0-main.yaml"
LOG_FORMAT = "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"


def files(plan: Plan, place: Place) -> tuple[File, ...]:
    """Return every file, by its path below `place.etc`. `plan` is that of `placed`."""
    settings, paths = plan.settings, plan.settings.paths
    shared = homeserver(plan) | {"pid_file": _pid(plan, plan.topology.main)}
    return (
        yaml_file(HOMESERVER, shared, secret=True),
        # synctl starts main with this file and the one above.
        yaml_file(FIRST, {"worker_app": "synapse.app.homeserver"}),
        *(
            yaml_file(
                worker_path(item.name),
                worker(plan, item) | {"worker_pid_file": _pid(plan, item)},
            )
            for item in plan.topology.workers
        ),
        *(
            yaml_file(log_path(item.name), logging(plan, _handler(plan, item)))
            for item in plan.topology.processes
        ),
        *(replace(file, program="") for file in secret_files(plan)),
        *_nginx(plan, place),
        File(
            path="README.md",
            content=f"""\
# {settings.server_name} with synctl

Synapse runs from `{place.python}`, as the account that types this. PostgreSQL is at
`{settings.postgres_host}`, Redis at `{settings.redis_path or settings.redis_host}`.

    install -d -m 0750 {place.data} {paths.log_files} {paths.sockets} {paths.nginx_directory}
    {_synctl(place)} start {place.etc}/{HOMESERVER} -a {place.etc}/workers
    {place.nginx} -c {place.etc}/nginx/{nginx.CONF}

`stop` and `restart` take the same arguments. After another export, stop all processes before any
starts: those with different lists of writers would damage the streams.
""",
        ),
    )


def _synctl(place: Place) -> str:
    directory, _, _ = place.python.rpartition("/")
    return f"{directory}/synctl"


def _pid(plan: Plan, process: Process) -> str:
    return plan.settings.paths.process_pid(process.name)


def _handler(plan: Plan, process: Process) -> dict[str, object]:
    return {
        "format": LOG_FORMAT,
        "class": "logging.handlers.TimedRotatingFileHandler",
        "filename": plan.settings.paths.log_file(process.name),
        "when": "midnight",
        "backupCount": 3,
        "encoding": "utf8",
    }


def _nginx(plan: Plan, place: Place) -> Iterator[File]:
    own = replace(plan, settings=replace(plan.settings, etc=f"{place.etc}/nginx"))
    for file in nginx.files(own):
        yield replace(file, path=f"nginx/{file.path}")
