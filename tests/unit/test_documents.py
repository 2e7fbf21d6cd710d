"""The parts of the documentation that come from the code."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from ganglion.cli.main import parser_of
from ganglion.cli.verb import VERBS, load
from ganglion.settings.synapse_image import SUPPORTED, UNSUPPORTED, SynapseImageSettings
from ganglion.settings.variables import variables as rows
from ganglion.topology.roles import LEGACY_APPS, PRESETS, ROLES
from scripts.documents import commands, tables
from scripts.documents.generate import documents, outdated
from scripts.documents.markdown import fill

ROOT = Path(__file__).resolve().parents[2]


def test_every_generated_part_is_up_to_date() -> None:
    """If it fails, type scripts/docs."""
    assert [str(path) for path in outdated(ROOT)] == []


def test_the_page_of_variables_has_a_row_for_each_variable() -> None:
    page = tables.variables_page()
    for _, row in rows():
        assert sum(line.startswith(f"| `{row.name}`") for line in page.splitlines()) == 1
        assert (f"`{row.name}_FILE`" in page) == row.secret
        assert all(f"`{alias}`" in page for alias in row.aliases)
        assert row.doc.replace("|", "\\|") in page


def test_the_page_of_roles_has_every_word_for_workers() -> None:
    page = tables.roles_page()
    for word in (*(role.name for role in ROLES), *LEGACY_APPS, "stream_writers"):
        assert f"| `{word}` |" in page
    for preset in PRESETS:
        assert f"### {preset}\n" in page


@pytest.mark.parametrize("name", VERBS)
def test_the_page_of_commands_has_each_verb_with_its_manual_and_options(name: str) -> None:
    page = commands.commands_page()
    assert f"| `ganglion {name}` | {load(name).help} |" in page
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert f"\n    ganglion {name}" in section
    assert load(name).text in section
    parser = parser_of(load(name))
    for action in parser._actions:
        for option in set(action.option_strings) - {"-h", "--help"}:
            assert re.search(rf"^\| `(-\w, )?{option}\b", section, re.MULTILINE)


def test_the_page_of_commands_is_the_same_for_every_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages = set()
    for width in ("30", "80", "200"):
        monkeypatch.setenv("COLUMNS", width)
        pages.add(commands.commands_page())
    assert len(pages) == 1


def test_the_page_of_commands_names_each_verb_with_json() -> None:
    page = commands.commands_page()
    # Each control of `test` has --json.
    listed = ", ".join(f"`{name}`" for name in VERBS if load(name).json or name == "test")
    assert f"print one JSON document: {listed}.\n" in page


def test_fill_changes_only_the_text_between_markers() -> None:
    roles = "<!-- roles -->\n{}<!-- /roles -->\n"
    variables = "<!-- variables -->\n<!-- /variables -->\n"
    text = f"a\n{roles}b\n{variables}"
    once = fill(text.format("old\nolder\n"), {"roles": "| x\\1 |", "verbs": "| verb |"})
    assert once == text.format("\n| x\\1 |\n\n")
    assert fill(once, {"roles": "| x\\1 |"}) == once


@pytest.mark.parametrize("page", ["README.md", "docs/new.md", "docs/decisions/0099-new.md"])
def test_markers_are_filled_on_every_page(tmp_path: Path, page: str) -> None:
    path = tmp_path / page
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in ("README.md", page):
        (tmp_path / other).write_text("# Title\n", encoding="utf-8")
    made = len(outdated(tmp_path))
    path.write_text("<!-- verbs -->\n<!-- /verbs -->\n", encoding="utf-8")
    found = outdated(tmp_path)
    assert found[path] == f"<!-- verbs -->\n\n{commands.verb_table()}\n\n<!-- /verbs -->\n"
    assert len(found) == made + 1
    path.write_text(found[path], encoding="utf-8")
    assert path not in outdated(tmp_path)


def test_every_link_leads_to_a_file() -> None:
    """Also to a heading, if the link names one."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in link and not leads_somewhere(page, link)
    ]
    assert broken == []


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    if not heading or not target.is_file():
        return target.exists()
    titles = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return heading in anchors


def test_parts_that_benchmarks_fill_are_left_alone() -> None:
    # It has markers of its own, one with the name of a table here.
    assert "<!-- layouts -->" in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert ROOT / "docs" / "performance.md" not in documents(ROOT)


def test_every_variable_of_synapses_images_is_documented() -> None:
    table = tables.drop_in_table()
    names = [name for name, _ in SUPPORTED] + [other.name for other in UNSUPPORTED]
    assert len(set(names)) == len(names)
    for name in names:
        assert sum(line.startswith(f"| `{name}` |") for line in table.splitlines()) == 1
    # Each row that is there for the users of those images is in the table.
    ours = {
        row.name
        for field, row in rows()
        if field in {item.name for item in fields(SynapseImageSettings)}
    }
    assert ours - {"GANGLION_COMPLEMENT"} <= set(names)


def contributed_diffs() -> Iterator[tuple[str, str, list[str]]]:
    """The diffs of CONTRIBUTING.md: the heading, the changed file and its lines."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for section in text.split("\n### ")[1:]:
        heading = section.partition("\n")[0]
        for block in re.findall(r"```diff\n(.*?)```", section, re.DOTALL):
            for part in re.split(r"^--- ", block, flags=re.MULTILINE)[1:]:
                name, *lines = part.splitlines()
                yield heading, name, lines


def test_the_diffs_for_contributors_fit_their_files() -> None:
    """Before the change, or after it for the secret; one builds on another."""
    texts: dict[str, list[str]] = {}
    for heading, name, lines in contributed_diffs():
        if name == "/dev/null":
            continue
        text = texts.setdefault(name, (ROOT / name.removeprefix("a/")).read_text().splitlines())
        gone = "+" if heading == "A secret" else "-"
        missing = [line for line in lines if line[:1] in (" ", gone) and line[1:] not in text]
        assert missing == [], f"{heading}: {name}"
        text.extend(line[1:] for line in lines if line[:1] == "+")


def test_contributors_find_a_diff_for_each_frequent_change() -> None:
    headings = {heading for heading, _, _ in contributed_diffs()}
    expected = ("variable", "route", "role", "secret", "rendered file", "verb")
    assert headings == {f"A {name}" for name in expected}
