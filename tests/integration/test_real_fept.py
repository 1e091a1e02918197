"""The first-principles FePt set (doi 10.13139/OLCF/1762742), where it is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import silent

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.data import audit, store
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.sources import lsms

ARCHIVE = Path(
    os.environ.get("ENSEMBLE_MTL_FEPT", Path(__file__).parents[2] / "../shared/data/fept_lsms/FePt_32atoms.tar.xz")
)
WHOLE_SET = 32_015

pytestmark = pytest.mark.skipif(
    not ARCHIVE.exists(), reason="the FePt data are not at hand; set ENSEMBLE_MTL_FEPT to FePt_32atoms.tar.xz"
)


@pytest.fixture(scope="module")
def fept(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    path = tmp_path_factory.mktemp("fept") / "data.bp"
    options = lsms.Options(path=ARCHIVE, cell=(20.872, 10.436, 14.116), atoms_per_cell=32)
    data = lsms.read(options, raw=path.parent, progress=silent)
    store.save(path, store.build(data, GraphConfig(periodic=True), {}))
    return store.load(path)


def test_one_lattice_of_86_neighbours(fept: GraphStore) -> None:
    assert len(fept.topologies) == 1
    assert set(np.bincount(fept.topologies.edges(0)[1])) == {86}


def test_pure_references(fept: GraphStore) -> None:
    assert fept.provenance["notes"] == [
        "reference energy of Fe: -2541.0079526878 Ry/atom, from out_32017",
        "reference energy of Pt: -36867.2610812570 Ry/atom, from out_0",
    ]
    assert fept.targets["mixing_enthalpy"].min() == 0.0


def test_charges_and_moments_are_in_the_published_range(fept: GraphStore) -> None:
    found = audit.audit(fept)
    assert found.max_charge_per_atom < 1.2e-5 / 32 + 1e-12
    assert fept.targets["charge_transfer"].min() > -5.311
    assert fept.targets["magnetic_moment"].max() < 3.81


def test_statistics_of_the_whole_set(fept: GraphStore) -> None:
    assert len(fept) == WHOLE_SET
    enthalpy = fept.targets["mixing_enthalpy"]
    assert (enthalpy.mean(), enthalpy.std(ddof=1), enthalpy.max()) == pytest.approx(
        (19.8115, 15.4834, 65.9184), abs=1e-4
    )
    found = audit.audit(fept)
    same = found.arrangements
    assert (same.num_distinct, same.num_groups, same.num_extra) == (31_867, 137, 148)
    assert set(same.max_difference.values()) == {0.0}
    assert found.compositions["Fe29Pt3"] == 4959
