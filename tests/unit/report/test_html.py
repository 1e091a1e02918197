from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import fake_study

from ensemble_mtl.analysis import gather
from ensemble_mtl.report import write
from ensemble_mtl.study.directory import Study

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


NO_FIGURES = {"figures": "none"}


def report(study: Study) -> str:
    return write.write(study, gather.gather(study)).read_text()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    study = fake_study.make_study(
        tmp_path_factory.mktemp("hostile"), seeds=2, label=f'{ATTACK}"', description=f"{ATTACK} & co"
    )
    plan = study.members()
    fake_study.fail(study, plan[0], f"{ATTACK}' onerror=x")
    fake_study.finish_all(study)
    study.result(plan[0]).unlink()
    fake_study.finish(study, plan[1], device=ATTACK, versions={"torch": ATTACK})
    return report(study)


def test_every_value_is_escaped(hostile: str) -> None:
    assert "script" not in Page(hostile).tags
    assert ATTACK not in hostile
    # label, description, error, device and version all arrive, as text
    assert hostile.count("&lt;script&gt;") >= 5


def test_page_is_well_formed_and_asks_nothing_of_any_host(hostile: str) -> None:
    page = Page(hostile)
    assert not page.open
    assert all(address.startswith(("data:image/svg+xml;base64,", "#")) for address in page.addresses)
    assert not re.search(r"https?://", hostile)
    assert "@import" not in hostile
    assert "url(" not in hostile


def test_links_lead_to_sections_that_exist(hostile: str) -> None:
    for target in re.findall(r'href="#([^"]+)"', hostile):
        assert f'id="{target}"' in hostile


def test_failed_missing_and_damaged_members_are_shown(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2, report=NO_FIGURES)
    plan = study.members()
    fake_study.fail(study, plan[0], "loss is not finite")
    for member in plan[2:]:
        fake_study.finish(study, member)
    study.result(plan[3]).write_text("{")
    text = report(study)
    assert "11 of 14 members done" in text
    assert "loss is not finite" in text
    assert "2 attempts" in text
    assert "not a readable result" in text
    assert plan[1].id in text
    assert "The study is not complete" in text


def test_a_study_without_results_still_has_a_page(tmp_path: Path) -> None:
    text = report(fake_study.make_study(tmp_path, seeds=1))
    assert "0 of 7 members done" in text
    assert "too few seeds to say" in text


def test_synthetic_data_carry_a_banner_and_others_do_not(tmp_path: Path) -> None:
    assert 'class="banner"' in report(fake_study.make_study(tmp_path / "a", synthetic=True, report=NO_FIGURES))
    assert 'class="banner"' not in report(fake_study.make_study(tmp_path / "b", synthetic=False, report=NO_FIGURES))


def test_report_is_small_and_complete(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=5)
    fake_study.finish_all(study)
    first = report(study)
    assert len(first) < 3_400_000
    assert "All 35 members are done and verified" in first
    assert study.config.name in first
    assert fake_study.make_store().sha256 in first


def test_report_is_reproducible(tmp_path: Path) -> None:
    """That figures are, test_figures.py says."""
    study = fake_study.make_study(tmp_path, seeds=5, report={"figures": ["composition"]})
    fake_study.finish_all(study)
    assert report(study) == report(study)


def test_figures_stand_beside_the_page_and_stale_ones_go(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, report={"figures": ["composition", "parity"]})
    fake_study.finish_all(study)
    report(study)
    assert (study.root / "figures" / "parity.svg").read_text().startswith("<?xml")
    for member in study.members():
        study.result(member).unlink()
    report(study)
    assert [path.name for path in (study.root / "figures").iterdir()] == ["composition.svg"]
