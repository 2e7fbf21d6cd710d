"""Prometheus's text format: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

KIND = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value with its labels. `suffix` follows the name of the family, as `_bucket` does."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """All samples of one name. `kind` is Prometheus's: gauge, counter or histogram."""

    name: str
    kind: str
    about: str
    samples: Sequence[Sample]


def escaped(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def label_text(labels: Mapping[str, str]) -> str:
    """Return labels as they stand between braces."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())


def rendered(families: Iterable[Family]) -> Iterator[bytes]:
    """Return the text of each family that has a sample."""
    for family in families:
        if not family.samples:
            continue
        lines = [f"# HELP {family.name} {family.about}", f"# TYPE {family.name} {family.kind}"]
        for sample in family.samples:
            labels = label_text(sample.labels)
            braces = f"{{{labels}}}" if labels else ""
            lines.append(f"{family.name}{sample.suffix}{braces} {sample.value!r}")
        yield "\n".join([*lines, ""]).encode("utf-8", "replace")
