"""Programs of others that this process runs for a while, such as initdb. They end with it.

A killed process cannot end what it has started, so the kernel does. What such a program has started
in turn goes on until its own work ends. It inherits the locks that this process holds, so nobody
else uses the same directory before: data/owned_lock.py.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ganglion.machine.acting import groups_of
from ganglion.machine.parent_death import end_with_parent
from ganglion.machine.unix_accounts import numbers

# The descriptors of the locks that this process holds.
_LOCKS: set[int] = set()


@contextlib.contextmanager
def holding(lock: int) -> Iterator[None]:
    """Have each program that is started in the body hold a lock too, by its descriptor."""
    _LOCKS.add(lock)
    try:
        yield
    finally:
        _LOCKS.discard(lock)


def start(
    command: Sequence[str],
    *,
    account: str | None = None,
    prepare: Callable[[], object] = lambda: None,
    locks: bool = True,
    pass_fds: Sequence[int] = (),
    **options: Any,  # noqa: ANN401 - Popen's
) -> "subprocess.Popen[Any]":
    """Start a program as `account`, or as this process's own for None. Raises OSError.

    `prepare` runs in the child, with the rights of the account. Without `locks` it holds none. This
    process must have one thread.
    """
    parent = os.getpid()

    def ready() -> None:
        # After the change of account, which clears it.
        end_with_parent(parent, signal.SIGKILL)
        prepare()

    rights: dict[str, Any] = {}
    if account is not None:
        user, group = numbers(account)
        rights = {"user": user, "group": group, "extra_groups": groups_of(account)}
    return subprocess.Popen(
        command,
        preexec_fn=ready,  # noqa: PLW1509 - this process has one thread
        pass_fds=(*pass_fds, *(_LOCKS if locks else ())),
        **rights,
        **options,
    )


def run(
    command: Sequence[str],
    *,
    input: str | None = None,  # noqa: A002 - as subprocess.run has it
    timeout: float | None = None,
    **options: Any,  # noqa: ANN401 - start()'s
) -> "subprocess.CompletedProcess[Any]":
    """Run a program to its end, as subprocess.run does. It is killed after `timeout` seconds."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with start(command, **options) as process:
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
