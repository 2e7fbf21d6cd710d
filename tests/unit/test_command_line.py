"""The command line from outside: exit status, output and written files of its verbs."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ganglion import __version__
from ganglion.cli.main import main
from tests.plans import said

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Exit status and output of one run."""

    status: int
    out: str
    err: str


def ganglion(*arguments: str, **environ: str | bytes) -> Result:
    """Run a verb in this process, in an environment that holds nothing else."""
    out, err = io.StringIO(), io.StringIO()
    # As Python decodes it: https://peps.python.org/pep-0383/
    decoded = {name: os.fsdecode(value) for name, value in environ.items()}
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments, decoded)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Result(status=status, out=out.getvalue(), err=err.getvalue())


def process(*arguments: str, stdin: str = "", **environ: str | bytes) -> Result:
    """Run a verb as a process, in an environment that holds nothing else."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ganglion", *arguments],
        env={"PYTHONPATH": str(ROOT / "entrypoint"), **environ},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return Result(status=done.returncode, out=done.stdout, err=done.stderr)


def refused(*problems: str) -> Result:
    """A run that ended with these problems."""
    title = f"ganglion: {len(problems)} problem{'s' if len(problems) > 1 else ''}\n"
    return Result(status=2, out="", err=title + "\n".join(problems) + "\n")


BAD = said("WORKERS='pushr'", "unknown role 'pushr'", "did you mean 'pusher'?")


def test_check_prints_the_processes() -> None:
    assert ganglion("check", WORKERS="pusher") == Result(
        status=0,
        out="PROCESS  ROLES   ADDRESS                                  WRITES  JOBS\n"
        "main     -       unix:/run/ganglion/sockets/main.sock     -       -\n"
        "pusher1  pusher  unix:/run/ganglion/sockets/pusher1.sock  -       pusher\n",
        err="",
    )


def test_check_prints_json_on_stdout_and_notes_on_stderr() -> None:
    result = ganglion("check", "--json", WORKERS="synapse.app.pusher")
    note = (
        "synapse.app.pusher is a deprecated Synapse application; the worker gets the role pusher"
        " and runs synapse.app.generic_worker"
    )
    assert (result.status, result.err) == (0, f"note: {note}\n")
    assert json.loads(result.out) == {
        "processes": [
            {
                "name": "main",
                "roles": [],
                "address": "unix:/run/ganglion/sockets/main.sock",
                "streams": [],
                "jobs": [],
            },
            {
                "name": "pusher1",
                "roles": ["pusher"],
                "address": "unix:/run/ganglion/sockets/pusher1.sock",
                "streams": [],
                "jobs": ["pusher"],
            },
        ],
        "notes": [note],
    }


@pytest.mark.parametrize("verb", ["check", "run", "ready", "register-user"])
def test_bad_input_ends_every_verb_before_it_does_anything(verb: str, tmp_path: Path) -> None:
    arguments = ["alice"] if verb == "register-user" else []
    places = {"GANGLION_DATA": f"{tmp_path}/data", "GANGLION_RUN": f"{tmp_path}/run"}
    assert process(verb, *arguments, WORKERS="pushr", **places) == refused(BAD)
    assert list(tmp_path.iterdir()) == []


def test_problems_of_all_stages_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_text("worker_app: x\n")
    environ = {"GANGLION_DATA": str(tmp_path), "HTTP_PORT": "0", "SYNAPSE_SERVERNAME": "x"}
    assert process("run", WORKERS="pushr, sso:2", **environ) == refused(
        said(
            "SYNAPSE_SERVERNAME",
            "unknown variable",
            "did you mean SYNAPSE_SERVER_NAME?",
        ),
        said(
            "HTTP_PORT='0'",
            "is not a whole number from 1 to 65535",
            "write a number from 1 to 65535",
        ),
        said(
            f"{tmp_path}/homeserver.yaml",
            "sets worker_app",
            "remove it; WORKERS decides which workers run",
        ),
        BAD,
        said(
            "WORKERS='sso:2'",
            "gives the role sso to 2 workers; Synapse allows only 1",
            "keep sso on one worker with count 1; NAME:0 removes an entry of a preset",
        ),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["homeserver.yaml"]


def test_invalid_utf8_is_reported_without_a_traceback() -> None:
    assert (
        ganglion("check", WORKERS=b"pusher\xff").err
        == refused(
            said(
                "WORKERS='pusher\\udcff'",
                "unknown role 'pusher\\udcff'",
                "did you mean 'pusher'?",
            )
        ).err
    )
    assert ganglion("check", SYNAPSE_FORM_SECRET=b"\xff\xfe").status == 2


def test_a_secret_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\x00")
    assert ganglion("check", SYNAPSE_FORM_SECRET_FILE=str(path)) == refused(
        said(
            f"SYNAPSE_FORM_SECRET_FILE={str(path)!r}",
            "is not a text file",
            "give the path of a readable file that contains only the secret",
        )
    )


def test_render_writes_all_files_and_prints_their_number(tmp_path: Path) -> None:
    result = ganglion("render", "--output", str(tmp_path / "a" / "out"), WORKERS="none")
    files = [path for path in (tmp_path / "a" / "out").rglob("[!.]*") if path.is_file()]
    assert result == Result(status=0, out=f"wrote {len(files)} files to {tmp_path}/a/out\n", err="")
    # It lists them, to recognize them the next time.
    listed = (tmp_path / "a" / "out" / ".rendered").read_text().splitlines()
    assert sorted(listed) == sorted(str(path.relative_to(tmp_path / "a" / "out")) for path in files)


def test_render_replaces_the_files_of_an_earlier_run(tmp_path: Path) -> None:
    for workers in ("full", "none"):
        result = ganglion("render", "--output", str(tmp_path / "out"), WORKERS=workers)
        assert result.status == 0
    assert not (tmp_path / "out" / "synapse" / "workers").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_render_writes_into_an_empty_directory_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    assert ganglion("render", "--output", str(tmp_path / "link")).status == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "out" / "nginx.conf").is_file()


@pytest.mark.parametrize(
    "foreign",
    [
        ["letter.txt"],
        # As in /etc/supervisor.
        ["supervisord.conf", "conf.d/a.conf"],
        ["supervisord.conf"],
        ["nginx.conf", "synapse/overrides.yaml"],
        [".hidden"],
    ],
    ids=" ".join,
)
def test_render_rejects_a_directory_that_holds_other_files(
    tmp_path: Path, foreign: list[str]
) -> None:
    for name in foreign:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("dear\n")
    assert ganglion("render", "--output", str(tmp_path)) == refused(
        said(
            f"--output={str(tmp_path)!r}",
            "holds other files, which would be lost",
            "name a new or empty directory",
        )
    )
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(foreign)


def test_render_rejects_a_rendered_directory_with_an_added_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ganglion("render", "--output", str(out)).status == 0
    (out / "notes.txt").write_text("mine\n")
    assert ganglion("render", "--output", str(out)).status == 2
    assert (out / "notes.txt").read_text() == "mine\n"


def test_render_reports_why_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        assert ganglion("render", "--output", str(path)) == refused(
            said(
                f"--output={str(path)!r}",
                "cannot be written: Not a directory",
                "name a new or empty directory",
            )
        )


def test_verbs_that_ask_a_server_report_that_none_runs(short_path: Path) -> None:
    run = f"{short_path}/run"
    place = {"GANGLION_RUN": run, "WORKERS": "none", "HTTP_PORT": "1"}
    fix = (
        "start one with `ganglion run`, or set GANGLION_RUN to the directory of the running server"
    )
    assert ganglion("status", **place) == refused(
        said(
            f"GANGLION_RUN={run!r}",
            f"no server answers here: {run}/states.sock: No such file or directory",
            fix,
        )
    )
    secret = f"{run}/conf/secrets/registration_shared_secret"
    assert process("register-user", "alice", stdin="secret\n", **place) == refused(
        said(
            f"GANGLION_RUN={run!r}",
            f"no server answers here: {secret}: No such file or directory",
            fix,
        )
    )
    ready = ganglion("ready", "--json", **place)
    assert (ready.status, ready.err) == (1, "")
    answers = json.loads(ready.out)
    for name in ("postgres", "redis", "main", "nginx"):
        assert answers[name], name
    # The server that was started counts, not the one that would start now.
    (short_path / "run" / "conf").mkdir(parents=True)
    (short_path / "run" / "conf" / "workers").write_text("pusher=pusher:2\n")
    started = json.loads(ganglion("ready", "--json", **place).out)
    parts = {"postgres", "redis", "main", "pusher1", "pusher2", "nginx", "disk", "clock"}
    assert started.keys() == parts | {"control"}
    assert ganglion("ready", "--lag", "soon", **place) == refused(
        said("--lag='soon'", "is not a duration", "write a number with s, m or h, such as 60s")
    )
    # The server is not in test mode.
    fix = "start a server without real users with GANGLION_TEST_MODE=yes"
    none = "the running server is not in test mode and has no test controls"
    assert ganglion("test", "reset", **place) == refused(said("GANGLION_TEST_MODE='no'", none, fix))
    without = json.loads(ganglion("ready", "--json", GANGLION_CONTROL="no", **place).out)
    assert without.keys() == parts


def test_controls_report_that_no_server_runs(short_path: Path) -> None:
    run = f"{short_path}/run"
    assert ganglion("test", "barrier", GANGLION_RUN=run) == refused(
        said(
            f"GANGLION_RUN={run!r}",
            f"no server answers here: unix:{run}/control/control.sock: [Errno 2] No such file or"
            " directory",
            "start one with `ganglion run`, or set GANGLION_RUN to the directory of the running"
            " server",
        )
    )
    assert ganglion("test", "worker", "main", "slow") == refused(
        said("MS", "is missing", "type `ganglion test worker main slow 200`")
    )
    assert ganglion("test", "worker", "main", "kill", "5") == refused(
        said("MS='5'", "does not apply to kill", "type `ganglion test worker main kill`")
    )


def test_an_empty_password_is_rejected() -> None:
    assert process("register-user", "alice", stdin="\n") == refused(
        said("password", "is empty", "type it again, or write it as one line to standard input")
    )


@pytest.mark.parametrize(
    ("arguments", "problem", "fix"),
    [
        (["render"], "render: the following arguments are required: --output", "render --help"),
        (["check", "--loud"], "check: unknown argument '--loud'", "check --help"),
        (["status", "now"], "status: unknown argument 'now'", "status --help"),
        (["explain", "GET"], "explain: the following arguments are required: PATH", "explain --he"),
        (["test"], "test: the following arguments are required: CONTROL", "test --help"),
        (["test", "users", "x"], "test users: argument N: invalid int value: 'x'", "test users --"),
    ],
    ids=str,
)
def test_bad_options_end_with_2_usage_and_a_fix(
    arguments: list[str], problem: str, fix: str
) -> None:
    result = ganglion(*arguments)
    assert (result.status, result.out) == (2, "")
    first, usage, *_, last = result.err.splitlines()
    assert first == f"ganglion {problem}"
    assert usage.startswith(f"usage: ganglion {arguments[0]}")
    assert last.startswith(f"    fix: type `ganglion {fix}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["chekc"],
            "unknown verb 'chekc'|type `ganglion check`, or `ganglion --help` for all verbs",
        ),
        (["dance"], "unknown verb 'dance'|type `ganglion --help` for all verbs"),
        (["help", "dance"], "unknown verb 'dance'|type `ganglion --help` for all verbs"),
        ([""], "unknown verb ''|type `ganglion --help` for all verbs"),
        (
            ["--json", "check"],
            "unknown option '--json' before the verb|type `ganglion check --json`",
        ),
        (["--loud"], "unknown option '--loud' before the verb|type `ganglion VERB --loud`"),
    ],
    ids=str,
)
def test_an_unknown_verb_ends_with_2_and_the_nearest_one(
    arguments: list[str], message: str
) -> None:
    problem, fix = message.split("|")
    err = f"ganglion: {problem}\n    fix: {fix}\n"
    assert ganglion(*arguments) == Result(status=2, out="", err=err)


def test_all_ways_to_ask_for_help_print_the_same() -> None:
    overview = ganglion("--help")
    assert (overview.status, overview.err) == (0, "")
    assert overview == ganglion("-h") == ganglion("help")
    assert ganglion() == Result(status=2, out="", err=f"ganglion: no verb given\n\n{overview.out}")
    assert ganglion("help", "check") == ganglion("check", "--help")


def test_run_takes_no_arguments() -> None:
    assert ganglion("run", "-m", "synapse.app.homeserver") == refused(
        said(
            "run='-m synapse.app.homeserver'",
            "takes no arguments, because it starts several processes of Synapse",
            "set WORKERS instead of -m, and SYNAPSE_CONFIG_PATH instead of --config-path; see"
            " docs/drop-in.md",
        )
    )


def test_explain_takes_headers_with_a_colon() -> None:
    request = ("explain", "get", "/_matrix/client/v3/sync?since=s1")
    named = ganglion(*request, "--header", "Authorization: Bearer syt_YWxpY2U_x_y", WORKERS="none")
    assert named.status == 0
    assert "\nkey       user = YWxpY2U\n" in named.out
    assert ganglion(*request, "--header", "Bearer", WORKERS="none") == refused(
        said("--header='Bearer'", "has no colon", "write --header 'Authorization: Bearer syt_…'")
    )


def test_version() -> None:
    result = ganglion("version", "--json")
    versions = json.loads(result.out)
    assert versions["ganglion"] == __version__
    lines = "".join(f"{name} {number}\n" for name, number in versions.items())
    assert ganglion("version").out == lines
    assert set(versions) == {"ganglion", "matrix-synapse"}
    assert ganglion("--version") == ganglion("-V") == ganglion("version") == process("version")


def test_a_reader_that_closes_the_pipe_is_no_failure() -> None:
    command = f"{sys.executable} -P -m ganglion check | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env={
            "PYTHONPATH": str(ROOT / "entrypoint"),
            "PATH": "/usr/bin:/bin",
            "WORKERS": "client_reader:100, event_creator:100",
            "GANGLION_MEMORY": "64G",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PROCESS")


def test_budget_prints_every_amount_with_its_reason() -> None:
    result = ganglion("budget", "--memory", "2G", "--cpus", "2", WORKERS="pusher:2")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["WHAT", "AMOUNT", "MEMORY", "WHY"]
    assert "LAYOUTS" not in result.out
    for name in ("main: caches", "pusher1…pusher2: connections", "shared_buffers", "nginx workers"):
        assert sum(line.startswith(f"{name} ") for line in lines) == 1
    assert re.fullmatch(r"all +2 CPUs: GANGLION_CPUS +2048M +2048M: GANGLION_MEMORY", lines[-1])


def test_budget_as_json_and_with_the_layouts() -> None:
    where = {"GANGLION_MEMORY": "16G", "GANGLION_CPUS": "8"}
    found = json.loads(ganglion("budget", "--json", "--explain", "--cpus", "2", **where).out)
    assert found["limits"]["cpus"] == 2
    assert sum(row["memory"] for row in found["rows"]) == found["limits"]["memory"] == 16 * 1024**3
    assert found["pools"].keys() == found["caches"].keys()
    large_enough = [layout["large_enough"] for layout in found["layouts"]]
    assert large_enough == sorted(large_enough, reverse=True)
    assert found["workers"].startswith("reader=")
    shown = ganglion("budget", "--explain", **where)
    assert shown.err.startswith("note: WORKERS=auto runs ")
    for layout in found["layouts"]:
        assert layout["why"] in shown.out
    # `check` prints the same workers.
    checked = json.loads(ganglion("check", "--json", **where).out)
    planned = json.loads(ganglion("budget", "--json", **where).out)
    assert {process["name"] for process in checked["processes"]} == planned["pools"].keys()
    assert "layouts" not in planned


def test_budget_rejects_impossible_amounts() -> None:
    assert ganglion("budget", "--memory", "lots", WORKERS="none") == refused(
        said("--memory='lots'", "is not a size", "write a whole number with K, M or G, such as 50M")
    )
    assert ganglion("budget", "--cpus", "0", WORKERS="none") == refused(
        said(
            "--cpus='0'",
            "is not a number of processors from 0.1 to 1024",
            "write a number such as 2 or 0.5",
        )
    )
    for verb in (("budget", "--memory", "300M"), ("check",), ("run",)):
        result = process(*verb, WORKERS="full", GANGLION_MEMORY="300M")
        assert result.status == 2
        assert "memory='300M': is less than the 2370M" in result.err


def test_budget_notes_options_that_override_it(tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_text("caches: {global_factor: 2}\n")
    result = ganglion("budget", WORKERS="none", GANGLION_DATA=str(tmp_path))
    assert result.err == "note: your own files set caches, which overrides the budget\n"


def test_an_output_that_cannot_be_written_is_named() -> None:
    command = [sys.executable, "-P", "-m", "ganglion", "routes"]
    environ = {"PYTHONPATH": str(ROOT / "entrypoint")}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            command, env=environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "ganglion: 1 problem\n" + said(
        "standard output", "cannot be written: No space left on device",
        "make room on its disk, or name a directory on another one",
    ) + "\n"  # fmt: skip
    assert done.returncode == 2
    # As `ganglion routes >&-` does.
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        env=environ, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert (closed.returncode, closed.stderr) == (0, "")
