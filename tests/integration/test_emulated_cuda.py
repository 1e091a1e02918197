"""Whole shards on an emulated GPU: nothing on the wrong device, the CPU's numbers, and no new waiting for the device.

Numbers are compared bit for bit with a run on the CPU by the same operations. On a real GPU they are those to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from helpers.counting_mode import TO_DEVICE, CountingMode
from helpers.emulated_cuda import emulated
from helpers.shards import LATTICE, MOLECULES, NETWORKS, PROBES, Shards, differing, model, numbers, on, settings, train
from helpers.tolerances import DERIVATIVE, close
from helpers.weightings import ALL
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.curvature.forms.quadratic import JetForms
from ensemble_mtl.curvature.measure import all_forms, measure, probe_set
from ensemble_mtl.study.directory import Study
from ensemble_mtl.train import recorded
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker import grouping

RECORDINGS, REPLAYS = 2, 4
"""In two epochs of four batches on a lattice: of each epoch the second batch is recorded and replayed, the third is
replayed; the first, and the last, which is smaller, are done as they are."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return Shards(tmp_path_factory.mktemp("shards"))


def trained(shards: Shards, written: dict[str, Any]) -> tuple[Study, CountingMode]:
    """The study with all its members finished on the emulated GPU, and what was counted."""
    with emulated() as gpu:
        study = shards.study(written, "cuda")
        train(study)
    return study, gpu


def check(shards: Shards, written: dict[str, Any]) -> CountingMode:
    """Members trained on the emulated GPU have the numbers that they have on the CPU."""
    study, gpu = trained(shards, written)
    assert not differing(numbers(study), shards.on_cpu(written))
    return gpu


@pytest.mark.parametrize("kind", [LATTICE, MOLECULES])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_trains_and_is_probed(shards: Shards, network: str, kind: str):
    gpu = check(shards, settings(kind, network, probes=PROBES))
    assert (gpu.recordings, gpu.replays) == ((RECORDINGS, REPLAYS) if kind == LATTICE else (0, 0))


def test_features_of_a_lattice_s_edges(shards: Shards):
    check(shards, settings(LATTICE, "pna", model=model("pna", edge_basis=4), probes=PROBES))


@pytest.mark.parametrize("weighting", ALL)
def test_every_weighting_trains(shards: Shards, weighting: dict[str, Any]):
    gpu = check(shards, settings(LATTICE, "gin", train={"weighting": weighting}))
    combines_gradients = "aggregator" in weighting
    assert (gpu.recordings, gpu.replays) == ((0, 0) if combines_gradients else (RECORDINGS, REPLAYS))


@pytest.mark.parametrize("network", [(LATTICE, "pna"), (MOLECULES, "graph_network")], ids="-".join)
@pytest.mark.parametrize("density", registry.names("curvature.density"))
@pytest.mark.parametrize("trace", registry.names("curvature.trace"))
def test_every_estimator_measures(shards: Shards, trace: str, density: str, network: tuple[str, str]):
    steps = {"steps": 4} if density == "deflated" else {}
    probes = {**PROBES, "trace": trace, "density": {"name": density, **steps}}
    check(shards, settings(*network, probes=probes, train={"epochs": 1}))


@pytest.mark.parametrize("optimizer", registry.names("train.optimizer"))
@pytest.mark.parametrize("schedule", registry.names("train.schedule"))
def test_every_optimizer_and_schedule_trains(shards: Shards, optimizer: str, schedule: str):
    options = {"optimizer": optimizer, "schedule": schedule, "early_stopping": {"patience": 1}, "test_every": 1}
    check(shards, settings(MOLECULES, "sage", train={**options, "epochs": 3}))


def test_double_precision(shards: Shards):
    check(shards, settings(LATTICE, "pna", train={"dtype": "float64"}, probes=PROBES))


def test_the_compiled_loops_of_the_cpu_give_the_same_numbers_to_rounding(shards: Shards):
    """Adam's ε keeps a gradient that is nothing but rounding what it is, instead of a step of full length."""
    adam = {"name": "adam", "eps": 1e-3}
    written = settings(LATTICE, "pna", train={"dtype": "float64", "optimizer": adam})
    reference = shards.study(written)
    train(reference)
    study, _ = trained(shards, written)
    actual, expected = numbers(study), numbers(reference)
    assert actual.keys() == expected.keys()
    for name in expected:
        close(_values(actual[name]), _values(expected[name]), rtol=DERIVATIVE)


def _values(content: Any) -> Tensor:
    """All numbers in nested lists and dicts, in their order."""

    def leaves(value: Any) -> Iterator[float]:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from leaves(inner)
        elif isinstance(value, int | float):
            yield float(value)

    return torch.tensor(list(leaves(content)), dtype=torch.float64)


def mixed(**sections: Any) -> dict[str, Any]:
    """Members of two subsets in one stack."""
    subsets, launch = [["H", "C"], ["H"]], {"mix_subsets": True}
    return settings(LATTICE, "pna", subsets=subsets, launch=launch, probes=PROBES, **sections)


def test_members_of_several_subsets_train_in_one_stack(shards: Shards):
    written = mixed()
    study, gpu = trained(shards, written)
    assert not differing(numbers(study), shards.on_cpu(written))
    sizes = [json.loads(study.result(member).read_text())["stack_size"] for member in study.plan()]
    assert sizes == [4] * 4
    assert (gpu.recordings, gpu.replays) == (RECORDINGS, REPLAYS)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_an_interrupted_shard_goes_on_where_it_was(shards: Shards, first: str, then: str):
    """On another device, too: a checkpoint knows none."""
    written = mixed(train={"dtype": "float64"})
    study = shards.study(written, first)
    with on(first):
        assert not train(study, stop=lambda: True)
    assert not list(study.root.glob("members/*/*/result.json"))
    resumed = shards.moved(study, written, then)
    with on(then):
        assert train(resumed)
    assert not differing(numbers(resumed), shards.on_cpu(written))


def test_stack_sizes_are_tried_on_the_device(shards: Shards, monkeypatch: pytest.MonkeyPatch):
    written = settings(LATTICE, "gin")
    expected = shards.on_cpu(written)
    monkeypatch.setattr(grouping, "MIN_STEPS_FOR_TRIAL", 1)
    study, gpu = trained(shards, written)
    assert gpu.syncs["synchronize"] >= 2 * grouping.REPEATS  # around every step that is timed
    assert not differing(numbers(study), expected)


class Waits(NamedTuple):
    """How often the host waits for the device, for a stack of two members that learn two tasks.

    Attributes:
        step: in each training step but the first, which also makes what a shared topology keeps.
        epoch: in an epoch, beside its training steps.
        probe: in a probe of both tasks.
    """

    step: int
    epoch: int
    probe: int


WAITS = {
    LATTICE: dict.fromkeys(NETWORKS, Waits(step=0, epoch=5, probe=100)),
    MOLECULES: {
        "cgcnn": Waits(step=14, epoch=19, probe=183),
        "gatv2": Waits(step=23, epoch=28, probe=210),
        "gin": Waits(step=14, epoch=19, probe=183),
        "graph_network": Waits(step=13, epoch=18, probe=176),
        "mfc": Waits(step=16, epoch=21, probe=189),
        "pna": Waits(step=14, epoch=19, probe=183),
        "sage": Waits(step=14, epoch=19, probe=183),
    },
}
"""Batches of molecules find their sizes on the device, 13 times each; some networks ask for more.

On a lattice no network waits in a step, which could not be recorded otherwise.
"""


@pytest.mark.parametrize(("kind", "network"), [(kind, network) for kind, rows in WAITS.items() for network in rows])
def test_the_host_waits_no_more_than_it_did(shards: Shards, monkeypatch: pytest.MonkeyPatch, network: str, kind: str):
    """Equality is asked for: whoever removes a synchronisation lowers the table, and nobody adds one unseen."""
    written = settings(kind, network)
    with emulated() as gpu:
        problem, state, weights = _stack(shards, written)
        steps: list[int] = []
        counting = lambda step, _: lambda graphs: steps.append(_waits(gpu, step, graphs))  # noqa: E731
        monkeypatch.setattr(recorded, "RecordedStep", counting)
        gpu.reset()
        run_epoch(problem, state, weights)
        epoch = gpu.syncs.total() - sum(steps)
        places = gpu.sites
        gpu.reset()
        measure(problem, state, ProbeConfig.model_validate(PROBES), tuple(written["tasks"]))
    assert len(set(steps[1:])) == 1
    counted = Waits(steps[-1], epoch, gpu.syncs.total())
    assert counted == WAITS[kind][network], f"epoch: {places.most_common()}; probe: {gpu.sites.most_common()}"


def _stack(shards: Shards, written: dict[str, Any]) -> tuple[Problem, StackState, Tensor]:
    """Two untrained members of all tasks on the emulated GPU, and their tasks' weights."""
    problem = shards.problem(written, "cuda")
    state = initial(problem.layout, problem.buffers, [0, 1], problem.config, torch.device("cuda"))
    return problem, state, torch.ones(2, len(written["tasks"]), device="cuda")


def _waits(gpu: CountingMode, step: recorded.Step, graphs: Tensor) -> int:
    """How often the host waits in a step, in which nothing may be copied to the device."""
    waits, copies = gpu.syncs.total(), gpu.copies[TO_DEVICE]
    step(graphs)
    assert gpu.copies[TO_DEVICE] == copies
    return gpu.syncs.total() - waits


@pytest.mark.parametrize("kind", [LATTICE, MOLECULES])
@pytest.mark.parametrize("network", NETWORKS)
def test_traces_are_measured_by_jets(shards: Shards, network: str, kind: str):
    """They take a fraction of the time of Hessian-vector products, to which networks without a rule fall back."""
    with emulated():
        problem, state, _ = _stack(shards, settings(kind, network))
        forms = all_forms(problem, state, problem.model.spec.tasks, probe_set(problem, 4))
    assert isinstance(forms, JetForms)
