"""Work in a process of its own, while this one does something else."""

import contextlib
import os
import pickle
import traceback
from collections.abc import Callable, Iterator

from ganglion.errors import ConfigError


@contextlib.contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Run `work` in a forked process during the body of the `with`, and wait for its end.

    Raises the ConfigError that it raises; RuntimeError where it fails in another way, which is told
    on stderr.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        try:
            yield
        finally:
            told = answer.read()
            _, status = os.waitpid(child, 0)
    if told:
        raise ConfigError(pickle.loads(told))  # noqa: S301 - by our own process
    if status:
        raise RuntimeError("a process of ours failed; the lines above say why")


def _work(work: Callable[[], None], writer: int) -> None:
    """Do it, tell the problems and end the process."""
    status = 1
    try:
        work()
        status = 0
    except ConfigError as error:
        with os.fdopen(writer, "wb") as answer:
            pickle.dump(error.problems, answer)
    except BaseException:  # noqa: BLE001 - nothing may go up into the parent's code
        traceback.print_exc()
    finally:
        os._exit(status)
