"""Merge the metrics of many processes into one text, with labels that tell them apart.

The format wants all samples of a name together. So the texts wait in a file in memory, which is no
memory of this process, with the place of each name in it, and are read name by name.
"""

import os
import re
import threading
from array import array
from collections.abc import Iterator, Mapping

from ganglion.control.metrics.exposition import label_text

# In bytes: handed on at once.
PIECE = 64 * 1024
FAMILY = re.compile(rb"^# (?:HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)", re.MULTILINE)
# A name, its labels, and its value with perhaps a time.
SAMPLE = re.compile(
    rb"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ((?:[-+]?[0-9.][-+.0-9eE]*|[-+]?Inf|NaN)"
    rb"(?: -?[0-9]+)?)$",
    re.MULTILINE,
)
HEADER = re.compile(rb"# (?:HELP [^ ]+(?: .*)?|TYPE [^ ]+ [a-z]+)")


class Merged:
    """The texts of several processes. close() gives their memory back."""

    def __init__(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """`labels` are the labels that each process's samples get, by its name."""
        self._labels = {name: label_text(own).encode() for name, own in labels.items()}
        # A name that Synapse gave is renamed, as Prometheus does with names that it needs itself.
        names = {label for own in labels.values() for label in own}
        either = "|".join(sorted(names)).encode()
        self._taken = re.compile(rb"(^|,)(%s)=" % either)
        self._has_taken = re.compile(rb"[{,](%s)=" % either)
        self._file = os.memfd_create("ganglion-metrics", os.MFD_CLOEXEC)
        self._size = 0
        # By name of a family: for each process the number of its labels, offset and length.
        self._places: dict[bytes, array[int]] = {}
        self._order: list[bytes] = []
        self._lock = threading.Lock()
        self._sealed = False

    def close(self) -> None:
        """Give the memory back. Do nothing the second time."""
        with self._lock:
            self._sealed = True
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def add(self, name: str, text: bytes) -> None:
        """Note the text of a process. Ignored once the merged text is read: it is too late."""
        with self._lock:
            if not self._sealed:
                self._add(name, text)

    def _add(self, name: str, text: bytes) -> None:
        number = len(self._order)
        self._order.append(self._labels[name])
        starts = [(found.start(), found[1]) for found in FAMILY.finditer(text)]
        for index, (start, family) in enumerate(starts):
            end = starts[index + 1][0] if index + 1 < len(starts) else len(text)
            places = self._places.setdefault(family, array("q"))
            if (
                len(places)
                and places[-3] == number
                and places[-2] + places[-1] == self._size + start
            ):
                # The line of its type follows that of its description.
                places[-1] += end - start
            else:
                places.extend((number, self._size + start, end - start))
        view = memoryview(text)
        while view:
            written = os.write(self._file, view)
            view = view[written:]
            self._size += written

    def pieces(self) -> Iterator[bytes]:
        """Return the merged text in pieces of some size."""
        with self._lock:
            self._sealed = True
        waiting: list[bytes] = []
        size = 0
        for places in self._places.values():
            for part in self._family(places):
                waiting.append(part)
                size += len(part)
                if size >= PIECE:
                    yield b"".join(waiting)
                    waiting.clear()
                    size = 0
        yield b"".join(waiting)

    def _family(self, places: "array[int]") -> Iterator[bytes]:
        first = True
        for index in range(0, len(places), 3):
            number, start, length = places[index : index + 3]
            text = os.pread(self._file, length, start)
            if first:
                lines = text.split(b"\n", 2)[:2]
                yield b"".join(line + b"\n" for line in lines if HEADER.fullmatch(line))
                first = False
            yield self._labelled(text, self._order[number])

    def _labelled(self, text: bytes, added: bytes) -> bytes:
        """Return a family's samples with more labels, and leave out all other lines."""
        samples = SAMPLE.findall(text)
        if self._has_taken.search(text):
            samples = [
                (name, self._taken.sub(rb"\1exported_\2=", own), value)
                for name, own, value in samples
            ]
        return b"".join(
            b"%b{%b%b} %b\n" % (name, added, b"," + own if own else b"", value)
            for name, own, value in samples
        )
