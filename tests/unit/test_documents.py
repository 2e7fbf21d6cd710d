"""The documentation says what the code does."""

from dataclasses import fields
from pathlib import Path

from ganglion.settings.synapse_image import SUPPORTED, UNSUPPORTED, SynapseImageSettings
from ganglion.settings.variables import variables as rows
from ganglion.topology.roles import LEGACY_APPS, PRESETS, ROLES
from scripts.documents import tables
from scripts.documents.generate import documents, outdated

ROOT = Path(__file__).resolve().parents[2]


def test_everything_made_from_the_code_is_up_to_date() -> None:
    """If not: run scripts/docs."""
    assert [str(path) for path in outdated(ROOT)] == []


def test_the_page_of_variables_has_a_row_for_each() -> None:
    page = tables.variables_page()
    for _, row in rows():
        assert sum(line.startswith(f"| `{row.name}`") for line in page.splitlines()) == 1
        assert (f"`{row.name}_FILE`" in page) == row.secret
        assert all(f"`{alias}`" in page for alias in row.aliases)
        assert row.doc.replace("|", "\\|") in page


def test_the_page_of_roles_has_all_words_that_workers_may_hold() -> None:
    page = tables.roles_page()
    for word in (*(role.name for role in ROLES), *LEGACY_APPS, "stream_writers"):
        assert f"| `{word}` |" in page
    for preset in PRESETS:
        assert f"### {preset}\n" in page


def test_only_what_is_between_the_markers_is_filled() -> None:
    roles = "<!-- roles -->\n{}<!-- /roles -->\n"
    variables = "<!-- variables -->\n<!-- /variables -->\n"
    text = f"a\n{roles}b\n{variables}"
    once = tables.filled(text.format("old\nolder\n"), "roles", "| x\\1 |")
    assert once == text.format("\n| x\\1 |\n\n")
    assert tables.filled(once, "roles", "| x\\1 |") == once
    assert tables.filled("none\n", "roles", "table") == "none\n"


def test_the_readme_has_both_tables(tmp_path: Path) -> None:
    readme = documents(ROOT)[ROOT / "README.md"]
    assert tables.role_table() in readme
    assert tables.variable_table() in readme
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    assert tmp_path / "README.md" not in outdated(tmp_path)
    assert len(outdated(tmp_path)) == 5


def test_each_variable_of_synapses_images_is_one_of_ours_or_told_of() -> None:
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
