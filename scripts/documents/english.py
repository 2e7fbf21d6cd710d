"""Find phrases that plain English does without.

python english.py [PATH...]

Without arguments it reads every text file of the checkout. A path is a file, or a directory with
all below it. It prints each finding as FILE:LINE: phrase, and ends with status 1 if there is one.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

VERB = (
    r"(?:is|are|was|were|be|has|have|had|does|do|did|can|may|must|will|would|should|comes?|came"
    r"|goes|runs?|needs?|wants?|wrote|writes?|says?|said|asks?|makes?|made|takes?|knows?|gives?"
    r"|reaches|starts?|tests?|uses?|reads?|waits?|works?|persists?|remains?|happens?|follows?)"
)
BANNED = re.compile(
    "|".join(
        (
            r"\blest\b",
            r"\bwho(?:so)?ever\b",
            r"\blikewise\b",
            r"\b(?:come|comes|came|coming) about\b",
            r"\b(?:is|are|was|were|be|been|being) told\b",
            r"\bcount(?:s|ed)? for nothing\b",
            r"\bof (?:ours|yours|theirs|his|hers)\b",
            r"\bin (?:the|its|their|our|your) place of\b",
            r"\b(?:is|are) called after\b",
            r"\bsaid at once\b",
            r"\bto be had\b",
            r"\bthat there (?:is|are|was|were)(?: not| none)?[.,:;)]",
            # `what` or `who` as a subject. "people who want" is a plain relative clause.
            rf"\bwhat {VERB}\b(?!.*\?)",
            rf"(?:^|[.;:(,]|\b(?:of|to|for|by|with|and|or|as|than|that)) who {VERB}\b(?!.*\?)",
            # A docstring, a comment or a sentence that starts with one.
            r"(?:\"\"\"|# |^)Who(?:m|se)? \b(?!.*\?)",
            r"(?:\"\"\"|# )What \b(?!.*\?)",
        )
    ),
    re.IGNORECASE,
)
# Licence texts and recorded data are not ours to rewrite. The others quote the phrases.
LEFT_OUT = re.compile(
    r"LICENSE$|\.lock$|\.svg$|^tests/oracle/.*\.json$|^scripts/documents/english\.py$"
    r"|^tests/unit/test_plain_english\.py$"
)


def findings(text: str) -> Iterator[tuple[int, str]]:
    """The number of each line that has a banned phrase, and the phrase."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := BANNED.search(line):
            yield number, found[0].strip()


def files(paths: list[str]) -> Iterable[str]:
    """The paths of the text files to check, relative to the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        if not LEFT_OUT.search(name) and (ROOT / name).is_file():
            yield name


def main(paths: list[str]) -> int:
    """Check files. Returns the exit status."""
    status = 0
    for name in files([str(Path(path).resolve()) for path in paths]):
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        for number, phrase in findings(text):
            print(f"{name}:{number}: {phrase!r} is not plain English; see CONTRIBUTING.md")
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
