"""A member's result, for programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.core.errors import IncompleteStudyError, StoreError
from ensemble_mtl.study import results
from ensemble_mtl.study.member_results import load_result, probes


def test_results_and_probes_are_those_on_disk(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.plan()[0]
    written = fake_study.finish(study, member)
    result = load_result(study, member)
    assert result.metrics == written.metrics
    assert set(result.predictions) == set(member.subset)
    read = probes(study, member)
    assert [results.probe_record(probe) for probe in read] == [results.probe_record(probe) for probe in written.probes]
    assert all(np.array_equal(a.nodes, b.nodes) for a, b in zip(read, written.probes, strict=True))


def test_a_member_without_a_result_is_named_with_its_state(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.plan()[0]
    fake_study.fail(study, member, "no")
    for read in (load_result, probes):
        with pytest.raises(
            IncompleteStudyError, match=rf"member {member.id} \(HCM, seed 0\) is failed and has no result"
        ):
            read(study, member)


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.plan()[0]
    fake_study.finish(study, member)
    study.result(member).write_text("{")
    with pytest.raises(StoreError, match="not a readable result"):
        load_result(study, member)
