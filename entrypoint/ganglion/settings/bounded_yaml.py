"""Read YAML that an operator wrote, with bounds on what it can cost.

PyYAML's own loader fails with a traceback on some values and deep nesting, and aliases make a short
file stand for any number of values, each of which is visited later.
"""

import re
from typing import Any

import yaml

# homeserver.yaml has up to six levels.
DEEPEST = 100
# With those that aliases repeat. Reading so many takes some seconds.
MOST_VALUES = 100_000
# Characters. Python does not print longer whole numbers, and 1:1:1:… takes long to read.
LONGEST_NUMBER = 100
SURROGATE = re.compile("[\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, which counts values and levels, and reports every error as YAMLError."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._values = 0
        # The anchors whose value is not complete yet, and the number of values of the others.
        self._open: set[str] = set()
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a value, and raise yaml.YAMLError where a bound is exceeded."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self._open:
                raise _error(f"the alias *{event.anchor} is inside of its own value", event)
            self._count(self._sizes.get(event.anchor or "", 0), event)
            return super().compose_node(parent, index)
        anchor: str | None = event.anchor
        before = self._values
        self._count(1, event)
        self._depth += 1
        if self._depth > DEEPEST:
            raise _error(f"it is nested more than {DEEPEST} levels deep", event)
        if anchor is not None:
            self._open.add(anchor)
        node = super().compose_node(parent, index)
        if anchor is not None:
            self._open.discard(anchor)
            self._sizes[anchor] = self._values - before
        self._depth -= 1
        return node

    def _count(self, number: int, event: Any) -> None:  # noqa: ANN401 - PyYAML's
        self._values += number
        if self._values > MOST_VALUES:
            raise _error(
                f"it has more than {MOST_VALUES} values, with those that aliases repeat", event
            )

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - PyYAML's
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        try:
            return super().construct_object(node, deep)
        # PyYAML's own: `!!int ""`, `!!bool x`, `!!timestamp x`, the date 2026-13-01.
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _error(f"a value is not of the type {kind}", node) from error


def _check_scalar(node: yaml.ScalarNode) -> None:
    if SURROGATE.search(node.value):
        raise _error("a text has half of a surrogate pair, which no program can write", node)
    number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    if number and len(node.value) > LONGEST_NUMBER:
        raise _error(f"a number has more than {LONGEST_NUMBER} characters", node)


def _error(message: str, at: Any) -> yaml.YAMLError:  # noqa: ANN401 - a node or an event
    return yaml.constructor.ConstructorError(None, None, message, at.start_mark)


def load(text: str) -> Any:  # noqa: ANN401 - any YAML
    """Return the value of the one document of a text. Raises yaml.YAMLError."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
