"""The documentation, messages and comments are in plain English."""

import pytest

from scripts.documents import english


def test_no_file_has_a_banned_phrase(capsys: pytest.CaptureFixture[str]) -> None:
    status = english.main([])
    assert capsys.readouterr().out == ""
    assert status == 0


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("Whoever knows it may register users.", "Whoever"),
        ("# What a start does", "# What"),
        ('"""Who is asked first."""', '"""Who'),
        ("Print what is wrong.", "what is"),
        ("It goes to who was asked.", "to who was"),
        ("A worker that is told of it", "is told"),
        ("Counts for nothing: set WORKERS", "Counts for nothing"),
        ("In the place of Synapse's images", "In the place of"),
        ("the workers that there are.", "that there are."),
    ],
)
def test_a_banned_phrase_is_found(line: str, phrase: str) -> None:
    assert list(english.findings(f"Plain.\n{line}\n")) == [(2, phrase)]


@pytest.mark.parametrize(
    "line",
    [
        "## What is a role?",
        "It is for people who want a fast homeserver.",
        "That error is what nginx answers.",
        "Synapse says that there is no such room.",
    ],
)
def test_plain_sentences_pass(line: str) -> None:
    assert list(english.findings(line)) == []
