"""Splits, normalisers and data are made once, and refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import silent

from ensemble_mtl.config import file as config_file
from ensemble_mtl.core.errors import DataError, StudyError
from ensemble_mtl.data import prepare
from ensemble_mtl.study.directory import Study

TEXT = """\
name: small
data: {name: alloy, num_configurations: 40}
graph: {radius: 6.0, radius_unit: bohr, periodic: true}
tasks:
  H: {target: mixing_enthalpy}
  M: {target: magnetic_moment}
"""


def study(folder: Path, *overrides: str) -> Study:
    path = folder / "study.yaml"
    path.write_text(TEXT)
    return Study.at(config_file.load(path, overrides), path, folder / "out")


def test_everything_is_made_once(tmp_path: Path) -> None:
    small = study(tmp_path)
    prepare.prepare(small, silent)
    files = [small.data / "manifest.json", small.split(0)]
    before = [path.stat().st_mtime_ns for path in files]
    prepare.prepare(small, silent)
    assert [path.stat().st_mtime_ns for path in files] == before


@pytest.mark.parametrize("fit_on", ["train", "all"])
def test_normalisers_are_fitted_on_what_is_said(tmp_path: Path, fit_on: str) -> None:
    small = study(tmp_path, f"normalize.fit_on={fit_on}")
    graphs = prepare.prepare(small, silent)
    prepared = prepare.load(small, 0)
    chosen = np.arange(len(graphs)) if fit_on == "all" else prepared.split.train
    enthalpy = graphs.targets["mixing_enthalpy"][chosen]
    assert prepared.normalizers["H"].shift == enthalpy.min()
    assert prepared.normalizers["H"].scale == np.ptp(enthalpy)
    moments = prepare.part_targets(graphs, "magnetic_moment", chosen)
    assert prepared.normalizers["M"].scale == np.ptp(moments)
    assert (prepared.input_normalizer.shift, prepared.input_normalizer.scale) == (26.0, 52.0)


def test_smaller_training_shares_lie_in_larger_ones(tmp_path: Path) -> None:
    small = study(tmp_path)
    prepare.prepare(small, silent)
    split = prepare.load(small, 0).split
    quarter, half, whole = (set(prepare.training_part(split, share)) for share in (0.25, 0.5, 1.0))
    assert quarter < half < whole == set(split.train)
    assert len(half) == round(0.5 * len(whole))


def test_a_split_of_other_data_is_refused(tmp_path: Path) -> None:
    small = study(tmp_path)
    prepare.prepare(small, silent)
    content = json.loads(small.split(0).read_text())
    small.split(0).write_text(json.dumps({**content, "data_sha256": "0" * 64}))
    with pytest.raises(DataError, match="made for other data"):
        prepare.load(small, 0)
    small.split(0).write_text("{")
    with pytest.raises(DataError, match="not a readable split"):
        prepare.load(small, 0)


def test_a_part_without_labels_is_refused(tmp_path: Path) -> None:
    small = study(tmp_path)
    graphs = prepare.prepare(small, silent)
    split = prepare.load(small, 0).split
    graphs.targets["mixing_enthalpy"][split.val] = np.nan
    with pytest.raises(DataError, match=r"tasks\.H\.target: no graph of the val part has a value of mixing_enthalpy"):
        prepare._require_labels(small.config, graphs, split)


def test_a_task_may_have_any_name(tmp_path: Path) -> None:
    small = study(tmp_path, "tasks={input: {target: charge_transfer}}")
    prepare.prepare(small, silent)
    prepared = prepare.load(small, 0)
    assert prepared.normalizers["input"].scale < 2
    assert prepared.input_normalizer.scale == 52.0


def pretend_done(small: Study, sha256: str) -> None:
    """A result of the study's first member, as far as it is looked at here."""
    member = small.plan()[0]
    small.folder(member).mkdir(parents=True)
    small.result(member).write_text(json.dumps({"member": member.to_json(), "data_sha256": sha256}))


def test_a_split_that_would_be_drawn_otherwise_is_refused_once_used(tmp_path: Path) -> None:
    small = study(tmp_path)
    sha256 = prepare.prepare(small, silent).sha256
    random_split = study(tmp_path, "split={name: random}", "train.epochs=3")
    prepare.prepare(random_split, silent)  # nothing depends on it yet
    prepare.prepare(small, silent)
    pretend_done(small, sha256)
    before = small.split(0).read_text()
    with pytest.raises(StudyError, match="use another name or --out DIR"):
        prepare.prepare(study(tmp_path, "split={name: random, fractions: [0.5, 0.25, 0.25]}"), silent)
    with pytest.raises(StudyError, match="use another name or --out DIR"):
        prepare.prepare(study(tmp_path, "normalize.method=standard"), silent)
    assert small.split(0).read_text() == before


def test_a_study_may_grow_by_a_task(tmp_path: Path) -> None:
    small = study(tmp_path)
    pretend_done(small, prepare.prepare(small, silent).sha256)
    prepare.prepare(study(tmp_path, "tasks.C={target: charge_transfer}"), silent)
    assert set(prepare.load(small, 0).normalizers) == {"H", "M", "C"}
    prepare.prepare(small, silent)
    assert set(prepare.load(small, 0).normalizers) == {"H", "M", "C"}


def test_data_of_another_configuration_do_not_replace_those_in_use(tmp_path: Path) -> None:
    small = study(tmp_path)
    pretend_done(small, prepare.prepare(small, silent).sha256)
    before = small.data.stat().st_mtime_ns
    with pytest.raises(StudyError, match="trained on other data"):
        prepare.prepare(study(tmp_path, "graph.radius=8"), silent)
    assert small.data.stat().st_mtime_ns == before


MOLECULES = """\
name: molecules
data: {name: smiles, path: molecules.csv, targets: [gap, copy]}
graph: {node_features: one_hot, elements: [C, O], bonds: found}
model: {trunk: {conv: cgcnn}}
tasks:
  G: {target: gap}
  K: {target: copy}
"""


def molecule_study(folder: Path, rows: list[tuple[str, str, str]], *overrides: str) -> Study:
    (folder / "molecules.csv").write_text("smiles,gap,copy\n" + "".join(",".join(row) + "\n" for row in rows))
    path = folder / "study.yaml"
    path.write_text(MOLECULES)
    return Study.at(config_file.load(path, overrides), path, folder / "out")


def rows(*, copied: bool, element: str = "O", num_known: int = 40) -> list[tuple[str, str, str]]:
    gaps = [str(k) if k < num_known else "" for k in range(40)]
    return [("C" * (k + 1) + element, gap, gap if copied else str(-(k**2))) for k, gap in enumerate(gaps)]


def test_a_property_under_two_names_is_refused_unless_told(tmp_path: Path) -> None:
    message = r"tasks\.G\.target and tasks\.K\.target: gap and copy are equal in every value, .*duplicates: allow"
    with pytest.raises(DataError, match=message):
        prepare.prepare(molecule_study(tmp_path, rows(copied=True)), silent)
    prepare.prepare(molecule_study(tmp_path, rows(copied=True), "data.duplicates=allow"), silent)
    prepare.prepare(molecule_study(tmp_path, rows(copied=False)), silent)


def test_an_atom_without_a_feature_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"graph\.elements: the data hold N besides \['C', 'O'\]; add them, or write"):
        prepare.prepare(molecule_study(tmp_path, rows(copied=False, element="N")), silent)


def test_the_smallest_share_of_the_training_part_needs_labels(tmp_path: Path) -> None:
    small = molecule_study(tmp_path, rows(copied=False), "fractions=[0.1, 1.0]")
    graphs = prepare.prepare(small, silent)
    split = prepare.load(small, 0).split
    graphs.targets["gap"][prepare.training_part(split, 0.1)] = np.nan
    with pytest.raises(DataError, match=r"tasks\.G\.target: no graph of the train part has a value of gap"):
        prepare._require_labels(small.config, graphs, split)


def test_missing_labels_leave_the_normaliser_alone(tmp_path: Path) -> None:
    small = molecule_study(tmp_path, rows(copied=False, num_known=30), "normalize.method=standard")
    graphs = prepare.prepare(small, silent)
    prepared = prepare.load(small, 0)
    gaps = graphs.targets["gap"][prepared.split.train]
    assert np.isnan(gaps).any()
    assert prepared.normalizers["G"].shift == pytest.approx(np.nanmean(gaps), rel=1e-12)
    assert prepared.normalizers["G"].scale == pytest.approx(np.nanstd(gaps), rel=1e-12)
