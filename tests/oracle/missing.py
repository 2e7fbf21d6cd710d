"""Find the methods of the store that Synapse's code uses and that a worker's store lacks.

Builds a worker's resources out of Synapse's own code, follows the attributes of its objects, and
reads the source of their classes: wherever `self.a.b.c` is read, and `self.a.b` is the worker's
store, `c` must be there.
"""

import ast
import inspect
import logging
import multiprocessing
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.oracle.generate import KINDS, LOGINS, resources, served

OURS = "synapse."


def missing() -> set[tuple[str, str]]:
    """Return each method that uses a missing attribute of a worker's store, with the attribute.

    That is of any kind of worker, in any configuration of LOGINS.
    """
    fork = multiprocessing.get_context("fork")
    found: set[tuple[str, str]] = set()
    for login in LOGINS:
        with tempfile.TemporaryDirectory() as directory:
            # Main makes the database.
            with fork.Pool(1) as pool:
                pool.apply(served, (directory, login, "main"))
            for kind in (kind for kind in KINDS if kind.endswith("_worker")):
                with fork.Pool(1) as pool:
                    found.update(pool.apply(_missing, (directory, login, kind)))
    return found


def _missing(directory: str, login: str, kind: str) -> list[tuple[str, str]]:
    logging.disable(logging.CRITICAL)
    names, media = KINDS[kind]
    tree = resources(Path(directory), login, names, media=media, worker=True)
    classes: dict[Any, tuple[tuple[str, tuple[str, ...]], ...]] = {}
    found = set()
    for item in _reachable(tree):
        cls: Any = type(item)
        if cls not in classes:
            classes[cls] = _paths(cls)
        found |= {
            (f"{cls.__module__.removeprefix(OURS)}.{method}", attribute)
            for method, path in classes[cls]
            if (attribute := _lacking(item, path)) is not None
        }
    return sorted(found)


def _reachable(start: object) -> Iterator[Any]:
    """Yield each object of Synapse's classes that attributes and collections lead to."""
    # Keep all objects, so that no address is used twice.
    seen: dict[int, object] = {}
    todo = [start]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, Mapping):
            todo += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            todo += item
        elif inspect.ismethod(item):
            todo.append(item.__self__)
        elif type(item).__module__.startswith((OURS, "tests.")):
            yield item
            todo += getattr(item, "__dict__", {}).values()
            todo += [
                getattr(item, name)
                for name in getattr(type(item), "__slots__", ())
                if hasattr(item, name)
            ]


def _lacking(item: object, path: tuple[str, ...]) -> str | None:
    """Return the first attribute of a path from `item` that a worker's store does not have."""
    for name in path:
        try:
            item = getattr(item, name)
        except AttributeError:
            return name if type(item).__name__ == "GenericWorkerStore" else None
    return None


def _paths(cls: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the attributes that the methods of a class read from `self`, and the methods."""
    found = []
    for base in cls.__mro__:
        for name, value in vars(base).items():
            function = (
                inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else None
            )
            if inspect.isfunction(function) and base.__module__.startswith(OURS):
                source = ast.parse(textwrap.dedent(inspect.getsource(function)))
                found += [(f"{base.__name__}.{name}", path) for path in _read(source)]
    return tuple(found)


def _read(source: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield `("a", "b", "c")` for each `self.a.b.c` in a source."""
    for node in ast.walk(source):
        parts: list[str] = []
        here: ast.AST = node
        while isinstance(here, ast.Attribute):
            parts.insert(0, here.attr)
            here = here.value
        if len(parts) > 1 and isinstance(here, ast.Name) and here.id == "self":
            yield tuple(parts)
