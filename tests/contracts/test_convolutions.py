"""Every convolution is PyG's layer, lifted to stacks: same numbers, same derivatives."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.stores import STORES, table
from helpers.tolerances import DERIVATIVE, ROUNDING, close
from pydantic import ValidationError
from torch import Tensor

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.data import degrees as degree_statistics
from ensemble_mtl.data import topology as topologies
from ensemble_mtl.data.topology import Topology
from ensemble_mtl.models.conv.base import FAMILY as CONVOLUTIONS
from ensemble_mtl.models.layout import Layout

MEMBERS, FAN_IN, FAN_OUT = 2, 3, 4
NAMES = CONVOLUTIONS.names()
VARIANTS = {
    "gin": [{"eps": 0.3}, {"train_eps": True, "eps": 0.1}],
    "gatv2": [{"heads": 3}, {"heads": 2, "bias": False, "negative_slope": 0.1}],
    "mfc": [{"max_degree": 2}, {"max_degree": 40}],
    "pna": [{"scalers": ("identity", "attenuation")}],
}
CASES = [(name, options) for name in NAMES for options in ({}, *VARIANTS.get(name, []))]
IDS = [f"{name}-{'-'.join(options) or 'default'}-{i}" for i, (name, options) in enumerate(CASES)]


class Setting:
    """One convolution on one batch, with random weights of a stack."""

    def __init__(self, name: str, options: dict, kind: str, edge_features: int) -> None:
        store = STORES[kind]()
        self.module = CONVOLUTIONS.load(name)
        self.options = self.module.Options(name=name, **options)
        self.degrees = degree_statistics.of(store, np.arange(len(store)))
        self.batch = table(store, edge_features=edge_features, kinds=4).batch(torch.arange(len(store)))
        self.topology = self.batch.topology
        fan_in = FAN_OUT if self.module.EQUAL_WIDTH else FAN_IN
        self.fans = (fan_in, FAN_OUT, edge_features)
        self.layout = Layout(self.module.parameters(*self.fans, self.options))
        generator = torch.Generator().manual_seed(3)
        flat = self.layout.initial(range(MEMBERS), torch.float64)
        self.flat = flat + 0.1 * torch.randn(flat.shape, generator=generator, dtype=torch.float64)
        nodes, graphs = self.topology.num_nodes, self.batch.x.shape[2]
        self.x = torch.randn(MEMBERS, nodes, graphs, fan_in, generator=generator, dtype=torch.float64)
        self.cotangent = torch.randn(nodes, graphs, FAN_OUT, generator=generator, dtype=torch.float64)
        self.directions = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (self.flat, self.x)]

    def run(self, flat: Tensor, x: Tensor, topology: Topology | None = None) -> Tensor:
        parameters = self.layout.unflatten(flat)
        return self.module.forward(parameters, x, topology or self.topology, self.options, self.degrees)

    def run_pyg(self, flat: Tensor, x: Tensor) -> Tensor:
        pyg = self.batch.to_pyg()
        edges = (pyg.edge_index, pyg.edge_attr) if self.fans[2] else (pyg.edge_index,)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            layer = self.module.reference(*self.fans, self.options, self.degrees)
        finally:
            torch.set_default_dtype(before)
        outputs = []
        for m in range(MEMBERS):
            own = {name: value[0] for name, value in self.layout.unflatten(flat[m : m + 1]).items()}
            assert set(own) == {name for name, _ in layer.named_parameters()}
            nodes = x[m].transpose(0, 1).flatten(0, 1)
            out = torch.func.functional_call(layer, own, (nodes, *edges))
            outputs.append(out.unflatten(0, (x.shape[2], x.shape[1])).transpose(0, 1))
        return torch.stack(outputs)

    def derivatives(self, run) -> list[Tensor]:
        """Outputs, gradients, and products with the Hessian of a nonlinear scalar."""
        flat, x = self.flat.clone().requires_grad_(), self.x.clone().requires_grad_()
        out = run(flat, x)
        value = (out.tanh() * self.cotangent).sum()
        gradients = torch.autograd.grad(value, (flat, x), create_graph=True)
        along = sum((g * v).sum() for g, v in zip(gradients, self.directions, strict=True))
        products = torch.autograd.grad(along, (flat, x))
        return [tensor.detach() for tensor in (out, *gradients, *products)]


def edge_counts(name: str) -> tuple[int, ...]:
    return (0, 3) if CONVOLUTIONS.load(name).EDGE_FEATURES else (0,)


SETTINGS = [
    pytest.param((name, options, kind, edges), id=f"{label}-{kind}-{edges}")
    for (name, options), label in zip(CASES, IDS, strict=True)
    for kind in STORES
    for edges in edge_counts(name)
]


@pytest.fixture(params=SETTINGS)
def setting(request) -> Setting:
    return Setting(*request.param)


def test_equals_pyg_to_second_order(setting):
    ours, theirs = setting.derivatives(setting.run), setting.derivatives(setting.run_pyg)
    for actual, expected, tolerance in zip(ours, theirs, [ROUNDING] * 3 + [DERIVATIVE] * 2, strict=True):
        close(actual, expected, rtol=tolerance)


def test_member_in_a_stack_equals_member_alone(setting):
    stacked = setting.run(setting.flat, setting.x)
    for m in range(MEMBERS):
        assert torch.equal(setting.run(setting.flat[m : m + 1], setting.x[m : m + 1])[0], stacked[m])


def test_common_input_may_have_a_member_axis_of_one(setting):
    common = setting.x[:1]
    expected = setting.run(setting.flat, common.expand(MEMBERS, -1, -1, -1))
    assert torch.equal(setting.run(setting.flat, common), expected)


def permuted(topology: Topology, order: Tensor, generator: torch.Generator) -> Topology:
    """Node i becomes ``order[i]``; edges of one target stand in random order."""
    source, target = order[topology.source], order[topology.target]
    shuffle = torch.randperm(len(source), generator=generator)
    by_target = shuffle[torch.argsort(target[shuffle], stable=True)]
    attr = None if topology.edge_attr is None else topology.edge_attr[by_target]
    edge_index = torch.stack([source, target])[:, by_target]
    shared = topology.adjacency is not None
    return topologies.make(topology.num_nodes, edge_index, attr, dtype=torch.float64, shared=shared)


def test_equivariant_under_permutation_of_nodes_and_edges(setting):
    generator = torch.Generator().manual_seed(5)
    order = torch.randperm(setting.topology.num_nodes, generator=generator)
    moved = torch.empty_like(setting.x)
    moved[:, order] = setting.x
    out = setting.run(setting.flat, moved, permuted(setting.topology, order, generator))
    close(out[:, order], setting.run(setting.flat, setting.x), rtol=ROUNDING)


def test_dense_and_sparse_sums_agree(setting):
    sparse = replace(setting.topology, adjacency=None)
    expected = setting.run(setting.flat, setting.x)
    close(setting.run(setting.flat, setting.x, sparse), expected, rtol=ROUNDING)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", NAMES)
def test_graphs_of_a_batch_do_not_touch_each_other(name, kind):
    setting = Setting(name, {}, kind, max(edge_counts(name)))
    spoilt = setting.x.clone()
    graph_of_node = setting.batch.graph_of_node
    first = torch.zeros(spoilt.shape[1:3], dtype=torch.bool)
    if graph_of_node is None:
        first[:, 0] = True
    else:
        first[graph_of_node == 0] = True
    spoilt[:, first] = float("nan")
    out = setting.run(setting.flat, spoilt)
    assert out[:, ~first].isfinite().all()


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_initial_distributions_are_pyg_s(name, options):
    """Bounds of the uniform draws, and constants, as ``reset_parameters`` leaves them."""
    setting = Setting(name, options, "periodic", max(edge_counts(name)))
    drawn = [setting.module.reference(*setting.fans, setting.options, setting.degrees) for _ in range(60)]
    for key, spec in setting.layout.specs.items():
        values = torch.stack([dict(layer.named_parameters())[key].detach().double() for layer in drawn])
        assert values.shape[1:] == spec.shape
        largest = float(values.abs().max())
        if spec.kind == "constant":
            close(values, torch.full_like(values, spec.value), rtol=1e-6)  # drawn in float32
        else:
            # of n draws the largest misses the bound by a share of more than 20/n with chance e^-20
            assert spec.value * (1 - 20 / values.numel()) <= largest <= spec.value * (1 + 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_import_leaves_torch_alone(name):
    code = (
        "import sys; from ensemble_mtl.models.conv.base import FAMILY; "
        f"m = FAMILY.load({name!r}); m.parameters(4, 4, 0, m.Options(name={name!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_edge_basis_is_refused_where_edges_have_no_features(name):
    study = {
        "name": "small",
        "data": "alloy",
        "tasks": {"H": {"target": "mixing_enthalpy"}},
        "model": {"trunk": {"conv": name}, "edge_basis": 4},
    }
    if CONVOLUTIONS.load(name).EDGE_FEATURES:
        assert StudyConfig.model_validate(study).model.edge_basis == 4
        return
    words = f"conv '{name}' has no use for features of edges; use one of cgcnn, gatv2, pna"
    with pytest.raises(ValidationError, match=words):
        StudyConfig.model_validate(study)
