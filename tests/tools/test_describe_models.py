"""The tables of docs/models.md are up to date with the code."""

from conftest import REPOSITORY

from demucs.repositories.models_page import TABLES, filled


def test_the_page_is_up_to_date():
    page = (REPOSITORY / "docs" / "models.md").read_text()
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)
    assert filled(page) == page


def test_only_tables_change():
    assert filled("a\n<!-- table: bags -->\nold\n<!-- end -->\nz").startswith("a\n<!-- table: bags -->\n| name |")
    assert filled("no tables") == "no tables"
