"""A study from a file, or from a directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.studies import write

from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.study.load import load_study
from ensemble_mtl.study.study_files import write_plan


def test_a_study_is_loaded_from_its_file(tmp_path: Path) -> None:
    study = load_study(str(write(tmp_path)), overrides=["seeds=3"])
    assert study.root == tmp_path / "studies/tiny"
    assert len(study.plan()) == 9
    assert load_study(tmp_path / "tiny.yaml", out=tmp_path / "else").root == tmp_path / "else"
    assert not (tmp_path / "studies").exists()


def test_a_study_directory_gives_the_study_that_was_run_there(tmp_path: Path) -> None:
    study = load_study(write(tmp_path), overrides=["seeds=3"])
    write_plan(study)
    again = load_study(study.root)
    assert again.root == study.root
    assert again.plan() == study.plan()
    assert len(load_study(study.root, overrides=["seeds=1"]).plan()) == 3


def test_a_study_directory_may_have_moved(tmp_path: Path) -> None:
    study = load_study(write(tmp_path), out=tmp_path / "here")
    write_plan(study)
    moved = study.root.rename(tmp_path / "there")
    assert load_study(moved).root == moved


def test_a_directory_that_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"expected a study's YAML file, or a study directory, which has resolved\.yaml"
    ):
        load_study(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_study(tmp_path / "none.yaml")
