"""Pages of reports, and what tests read off them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.report import write
from ensemble_mtl.study.directory import Study
from helpers import fake_study

ATTACK = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, resource addresses and unbalanced tags of a page."""

    VOID = frozenset(("meta", "img", "source", "br"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report(study: Study) -> str:
    """The text of the study's page."""
    return write.write_report(study, gather(study)).read_text()


def hostile_page(root: Path, **options: Any) -> str:
    """The page of a study in which every text that a person or a machine wrote is an attack."""
    study = fake_study.make_study(root, seeds=2, label=f'{ATTACK}"', description=f"{ATTACK} & co", **options)
    plan = study.plan()
    fake_study.fail(study, plan[0], f"{ATTACK}' onerror=x")
    fake_study.finish_all(study)
    study.result(plan[0]).unlink()
    fake_study.finish(study, plan[1], device=ATTACK, versions={"torch": ATTACK})
    return report(study)
