"""Call a function with many values at the same time."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def together(function: Callable[[T], R], values: Sequence[T]) -> list[R]:
    """Return the results in the order of the values. Raises the first exception.

    Each has a thread that does not hold up the end of the process, unlike those of
    concurrent.futures.
    """
    results: dict[int, R] = {}
    failures: list[Exception] = []

    def work(index: int, value: T) -> None:
        try:
            results[index] = function(value)
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(index, value), daemon=True)
        for index, value in enumerate(values)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(values))]
