from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import fake_study
from helpers.pages import ATTACK, Page, hostile_page, report

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.report import html
from ensemble_mtl.report.drawing import Drawing

NO_FIGURES = {"figures": "none"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With two figures; ``tests/integration/test_report_page.py`` has them all."""
    return hostile_page(tmp_path_factory.mktemp("hostile"), report={"figures": ["table_1", "wall_clock"]})


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
    plan = study.plan()
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


def test_report_is_reproducible(tmp_path: Path) -> None:
    """That every figure is, ``tests/integration/test_report_page.py`` says."""
    study = fake_study.make_study(tmp_path, seeds=5, report={"figures": ["wall_clock"]})
    fake_study.finish_all(study)
    assert report(study) == report(study)


def test_a_figure_stands_in_the_section_that_it_names(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    fake_study.finish_all(study)
    sections = ("figures", "curvature")
    drawings = [Drawing(f"a{section}", section, f"A new {section}", "", b"", b"", False) for section in sections]
    page = html.render(gather(study), drawings)
    for section in sections:
        (text,) = re.findall(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)
        assert [other for other in sections if f"A new {other}" in text] == [section]


def test_figures_stand_beside_the_page_and_stale_ones_go(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, report={"figures": ["composition", "wall_clock"]})
    fake_study.finish_all(study)
    report(study)
    assert (study.root / "figures" / "wall_clock.svg").read_text().startswith("<?xml")
    for member in study.plan():
        study.result(member).unlink()
    report(study)
    assert [path.name for path in (study.root / "figures").iterdir()] == ["composition.svg"]
