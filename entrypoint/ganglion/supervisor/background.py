"""Run a function in a process of its own while this process does something else."""

import contextlib
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator

from ganglion.errors import ConfigError
from ganglion.machine.parent_death import end_with_parent


@contextlib.contextmanager
def in_background(work: Callable[[], None]) -> Iterator[None]:
    """Run `work` in a forked process during the body of the `with`, and wait for its end.

    Raises the ConfigError that `work` raises. Raises RuntimeError if `work` fails in another way;
    its traceback is then on stderr.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        end_with_parent(parent, signal.SIGKILL)
        os.close(reader)
        _run(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        try:
            yield
        finally:
            problems = pipe.read()
            _, status = os.waitpid(child, 0)
    if problems:
        raise ConfigError(pickle.loads(problems))  # noqa: S301 - pickled by this program
    if status:
        raise RuntimeError("a background process failed; its error is printed above")


def _run(work: Callable[[], None], writer: int) -> None:
    """Run `work` in the child, write its problems to the pipe and end the process."""
    status = 1
    try:
        work()
        status = 0
    except ConfigError as error:
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(error.problems, pipe)
    except BaseException:  # noqa: BLE001 - the parent's frames are above; nothing may reach them
        traceback.print_exc()
    finally:
        os._exit(status)
