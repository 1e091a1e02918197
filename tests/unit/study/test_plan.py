"""The plan: which members, in which order, and what their names depend on."""

import subprocess
import sys
from pathlib import Path

import pytest

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.models.spec import of_subset
from ensemble_mtl.study import plan

ROOT = Path(__file__).parents[3]


def quickstart(*overrides: str) -> StudyConfig:
    return config_file.load(ROOT / "configs/quickstart.yaml", overrides)


def test_all_subsets_in_the_order_of_the_paper() -> None:
    names = [plan.label(subset) for subset in plan.subsets(quickstart())]
    assert names == ["HCM", "HC", "HM", "CM", "H", "C", "M"]


def test_84_members_with_distinct_names() -> None:
    members = plan.members(quickstart())
    assert len(members) == 84
    assert len({member.id for member in members}) == 84


def test_two_processes_print_the_same_bytes() -> None:
    command = [sys.executable, "-m", "ensemble_mtl", "plan", str(ROOT / "configs/quickstart.yaml"), "--json"]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second
    assert first.count(b'"id"') == 84


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=61",
        "model.trunk.width=13",
        "data.seed=1",
        "normalize.fit_on=all",
        "graph.radius=8",
        "split=random",
    ],
)
def test_whatever_changes_a_result_changes_its_name(override: str) -> None:
    before = {member.id for member in plan.members(quickstart())}
    assert not before & {member.id for member in plan.members(quickstart(override))}


@pytest.mark.parametrize(
    "override",
    [
        "launch.retries=5",
        "launch.members_per_shard=3",
        "train.device=cpu",
        "train.test_every=1",
        "train.test_every=null",
        "description=x",
        "name=other",
        "out=x",
    ],
)
def test_how_and_where_it_runs_changes_no_name(override: str) -> None:
    assert plan.members(quickstart()) == plan.members(quickstart(override))


def test_more_seeds_and_other_subsets_leave_the_names_of_members_alone() -> None:
    few = {member.id for member in plan.members(quickstart("seeds=3", "subsets=[[H], [M, H]]"))}
    assert few < {member.id for member in plan.members(quickstart())}
    assert len(few) == 6


def test_a_study_that_moves_keeps_its_names(tmp_path: Path) -> None:
    text = "name: a\ndata: {name: lsms, path: files.tar}\ntasks:\n  H: {target: mixing_enthalpy}\n"
    plans = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (folder / "study.yaml").write_text(text)
        plans.append(plan.members(config_file.load(folder / "study.yaml")))
    assert plans[0] == plans[1]


def test_splits_and_fractions_multiply_the_members() -> None:
    members = plan.members(quickstart("split_seeds=[0, 1]", "fractions=[0.5, 1.0]", "seeds=2"))
    assert len(members) == 7 * 2 * 2 * 2
    assert {(m.split, m.fraction) for m in members} == {(0, 0.5), (0, 1.0), (1, 0.5), (1, 1.0)}


COMPARED = "weightings=[fixed, dwa, {name: curvature, of: eigenvalue}]"


def test_each_weighting_makes_members_of_the_multi_task_subsets_alone() -> None:
    members = plan.members(quickstart(COMPARED, "seeds=2"))
    groups = list(dict.fromkeys(member.group for member in members))
    assert groups[:3] == ["HCM", "HCM-dwa", "HCM-curvature-eigenvalue"]
    assert groups[-3:] == ["H", "C", "M"]
    assert len(members) == len({member.id for member in members}) == (4 * 3 + 3) * 2


def test_the_default_weighting_and_single_tasks_keep_their_names() -> None:
    before = {member.id for member in plan.members(quickstart())}
    assert before == {member.id for member in plan.members(quickstart("train.weighting=fixed"))}
    compared = plan.members(quickstart(COMPARED))
    assert before == {member.id for member in compared if member.weighting == "fixed"}
    other = plan.members(quickstart("train.weighting=dwa"))
    assert {m.id for m in other} & before == {m.id for m in other if len(m.subset) == 1}
    assert {m.id for m in other} < {m.id for m in compared}


@pytest.mark.parametrize(
    ("first", "second"), [("dwa", "{name: dwa, temperature: 1}"), ("curvature", "{name: curvature, every: 2}")]
)
def test_options_of_a_weighting_are_part_of_the_name(first: str, second: str) -> None:
    members = plan.members(quickstart(f"weightings=[{first}, {second}]", "seeds=1", "subsets=[[H, C]]"))
    assert len({member.id for member in members}) == len({member.group for member in members}) == 2


def test_the_first_weighting_is_compared_with_single_tasks() -> None:
    config = quickstart("weightings=[dwa, fixed]")
    assert {m.weighting for m in plan.members(config) if plan.is_main(config, m) and len(m.subset) > 1} == {"dwa"}
    assert all(plan.is_main(config, member) for member in plan.members(config) if len(member.subset) == 1)


def test_members_are_trained_as_their_weighting_says() -> None:
    config = quickstart(COMPARED)
    assert plan.train_config(config, "curvature-eigenvalue").weighting.of == "eigenvalue"
    assert plan.train_config(config, "fixed").weighting.name == "fixed"
    assert plan.train_config(quickstart("train.weighting=dwa"), "fixed").weighting.name == "fixed"  # of single tasks


def test_subsets_keep_the_order_of_the_tasks() -> None:
    assert plan.subsets(quickstart("subsets=[[M, H]]")) == [("H", "M")]


def test_names_of_several_letters_are_joined_by_plus() -> None:
    assert plan.label(("gap", "energy")) == "gap+energy"


def test_parameters_of_the_published_model() -> None:
    # by hand, in -> out of each Linear: PNA with 16 scaled aggregates, then heads 50, 25, 1
    def pna(fan_in: int) -> int:
        return (2 * fan_in + 1) * fan_in + (17 * fan_in + 1) * 20 + 21 * 20 + 2 * 20

    trunk = pna(1) + 5 * pna(20)
    head = 21 * 50 + 51 * 25 + 26
    sizes = of_subset(config_file.load(ROOT / "configs/fept.yaml"), ("H", "C", "M")).num_parameters()
    assert sizes == {"shared": trunk, "total": trunk + 3 * head}
