"""The documentation as tests read it: blocks of code, commands and what they print, links, anchors, tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""The pages that a user reads."""
STUDIES = "studies"
"""Name of the folders that hold what commands have made."""
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_COMMENT = re.compile(r"<!-- test: (.*?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        kind: the word behind the opening fence, such as ``console``.
        text: the content of the block.
        line: number of the line of its opening fence, from 1.
        mark: the text of a comment ``<!-- test: … -->`` right above it; empty if there is none.
    """

    kind: str
    text: str
    line: int
    mark: str


@dataclass(frozen=True)
class Command:
    """A command that a page shows, with its output.

    Attributes:
        text: one or more lines of shell that a reader types.
        output: the lines that the page shows as the command's output.
        line: number of its first line, from 1.
    """

    text: str
    output: tuple[str, ...]
    line: int


def all_pages() -> list[Path]:
    """Return the paths of every Markdown file of the repository."""
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    paths = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))]
    return sorted(path for path in paths if STUDIES not in path.relative_to(ROOT).parts)


def name(path: Path) -> str:
    """Return the path relative to the repository."""
    return str(path.relative_to(ROOT))


def _tokens(path: Path) -> list[Token]:
    return _MARKDOWN.parse(path.read_text())


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    fenced, above = [], ""
    for token in _tokens(path):
        if token.type == "fence":
            assert token.map is not None
            fenced.append(Block(token.info.strip(), token.content, token.map[0] + 1, above))
        comment = _COMMENT.search(token.content) if token.type == "html_block" else None
        above = comment[1] if comment else ""
    return fenced


def commands(block: Block) -> list[Command]:
    """Return the commands of a ``console`` block (``$ …``, then its output), or a ``bash`` block as one command."""
    if block.kind == "bash":
        return [Command(block.text, (), block.line + 1)]
    typed: list[Command] = []
    goes_on = False
    for line, text in enumerate(block.text.splitlines(), start=block.line + 1):
        if goes_on:
            typed[-1] = Command(f"{typed[-1].text}\n{text}", (), typed[-1].line)
        elif text.startswith("$ "):
            typed.append(Command(text[2:], (), line))
        else:
            assert typed, f"line {line}: expected a command ('$ …') before what it prints"
            typed[-1] = Command(typed[-1].text, (*typed[-1].output, text), typed[-1].line)
        goes_on = text.endswith("\\") and (goes_on or text.startswith("$ "))
    return typed


def links(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the approximate line, from 1, and the target of every link and picture."""
    for token in _tokens(path):
        for inner in token.children or []:
            target = inner.attrGet("href") or inner.attrGet("src")
            if target:
                yield (token.map or [0])[0] + 1, unquote(str(target))


def anchors(path: Path) -> set[str]:
    """Return what may stand behind ``#`` in a link to a page, as GitHub derives it from the headings."""
    tokens = _tokens(path)
    texts = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    slugs: set[str] = set()
    for text in texts:
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", text).strip().lower()).replace(" ", "-")
        number = 0
        while (tried := f"{slug}-{number}" if number else slug) in slugs:
            number += 1
        slugs.add(tried)
    return slugs


def tables(path: Path) -> list[list[list[str]]]:
    """Return the tables of a page as lists of rows, the header first; a cell is its Markdown text."""
    all_tables: list[list[list[str]]] = []
    before = ""
    for token in _tokens(path):
        if token.type == "table_open":
            all_tables.append([])
        elif token.type == "tr_open":
            all_tables[-1].append([])
        elif before in ("th_open", "td_open"):
            all_tables[-1][-1].append(token.content)
        before = token.type
    return all_tables
