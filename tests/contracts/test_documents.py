"""The documentation is true: links lead somewhere, and lists agree with the code that they are about."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import key_tables
import pytest
from helpers.documents import PAGES, ROOT, all_pages, anchors, links, name, tables

from ensemble_mtl.cli.main import cli
from ensemble_mtl.config import file as config_file
from ensemble_mtl.core import errors
from ensemble_mtl.core.errors import ConfigError, EnsembleMTLError

DOCS = ROOT / "docs"
EXTERNAL = ("https://", "http://", "mailto:")
MOST_WORDS = 800
"""Of the README, which is to be read in minutes."""


# --- links


@pytest.mark.parametrize("page", [name(path) for path in all_pages()])
def test_every_link_leads_to_something(page: str) -> None:
    path = ROOT / page
    for line, target in links(path):
        if target.startswith(EXTERNAL):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{page}:{line}: {target}: there is no such file"
        assert linked.is_relative_to(ROOT), f"{page}:{line}: {target}: lies outside of the repository"
        if anchor:
            assert anchor in anchors(linked), f"{page}:{line}: {target}: expected one of {sorted(anchors(linked))}"


def test_a_link_to_nothing_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, three's\n\n[a](other.md#x) ![b](c.png)\n\n| [d](e) |\n|---|\n| [f](#one-two-threes) |\n"
    )
    assert [target for _, target in links(page)] == ["other.md#x", "c.png", "e", "#one-two-threes"]
    assert anchors(page) == {"one-two-threes"}


def test_every_page_stands_in_the_index() -> None:
    listed = {target.partition("#")[0] for _, target in links(DOCS / "README.md")}
    assert {path.name for path in PAGES if path.parent == DOCS} <= listed | {"README.md"}


def test_every_question_of_a_newcomer_is_answered_by_a_file_of_code() -> None:
    _, *answers = re.split(r"^\*\*(?:.*\?)\*\*$", (DOCS / "finding-your-way.md").read_text(), flags=re.MULTILINE)
    assert len(answers) >= 10
    assert all("(../src/ensemble_mtl/" in answer for answer in answers)


def test_the_readme_is_short_and_has_both_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) < MOST_WORDS
    for command in ("make run", "make test"):
        assert f"```console\n$ {command}\n```" in text


# --- configuration.md


def test_the_tables_of_keys_are_current() -> None:
    text = key_tables.PAGE.read_text()
    assert key_tables.filled(text) == text, "run `make docs`"


def documented() -> list[tuple[str, str, str]]:
    """Name of the extension (or nothing), dotted key, and meaning of every row of the tables."""
    rows, extension = [], ""
    for header, *body in tables(key_tables.PAGE):
        extension = ""
        for row in body:
            if len(header) == 4:
                rows.append(("", row[0].strip("`"), row[3]))
            elif row[0]:
                extension = row[0].strip("*`")
                rows.append((extension, "", row[4]))
            else:
                rows.append((extension, row[1].strip("`"), row[4]))
    return rows


def test_every_row_says_what_it_means() -> None:
    assert [row for row in documented() if not row[2]] == []


def dotted(value: Any, path: str = "") -> set[str]:
    """Keys of a mapping, and of the mappings in it."""
    if not isinstance(value, dict):
        return set()
    return {
        key for name, inner in value.items() for key in ({f"{path}{name}"} | dotted(inner, f"{path}{name}."))
    }  # fmt: skip


@pytest.mark.parametrize("config", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_every_key_of_a_study_is_documented(config: str) -> None:
    """Sections have headings; the name of an extension is in the first column; tasks are of any name."""
    study = config_file.load(ROOT / "configs" / config)
    keys = {re.sub(r"^tasks\.\w+", "tasks.<name>", key) for key in dotted(study.model_dump(mode="json"))}
    free = {f"data.{key}" for key, value in study.data if isinstance(value, dict)}  # columns, of any name
    documented_keys = {key for _, key, _ in documented()} | set(key_tables.sections()) | {"tasks.<name>"}
    documented_keys |= {
        ".".join((*path, family.key)) for path in key_tables.paths() if (family := key_tables.family_at(path))
    }
    assert {key for key in keys - documented_keys if key.rpartition(".")[0] not in free} == set()


def test_every_documented_key_exists() -> None:
    """Setting a key to nonsense is refused for what it is set to, never because there is no such key."""
    config = ROOT / "configs/quickstart.yaml"
    assert "unknown key" in refusal(config, "train.epoch={}")
    tried = 0
    for extension, key, _ in documented():
        if not key:
            continue
        section = key.rpartition(".")[0]
        chosen: tuple[str, ...] = ()
        if extension:
            family = key_tables.family_at(tuple(section.split(".")))
            assert family is not None
            chosen = (f"{section}={{{family.key}: {extension}}}",)
        assert "unknown key" not in refusal(config, *chosen, f"{key.replace('<name>', 'H')}={{}}"), key
        tried += 1
    assert tried > 80


def refusal(config: Path, *overrides: str) -> str:
    try:
        config_file.load(config, overrides)
    except ConfigError as error:
        return str(error)
    return ""


# --- exit-codes.md


def test_exit_codes_are_those_of_the_code() -> None:
    (table,) = tables(DOCS / "exit-codes.md")
    listed = {int(code): set(re.findall(r"`(\w+)`", raised)) for code, _, raised in table[1:]}
    assert set(listed) == {value for key, value in vars(errors).items() if key.startswith("EXIT_")}
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, EnsembleMTLError)]
    assert listed == {code: {kind.__name__ for kind in kinds if kind.exit_code == code} for code in listed}
    help_text = (cli.help or "").partition("Exit codes:")[2]
    assert {int(code) for code in re.findall(r"\b(\d+) ", help_text)} == set(listed)
