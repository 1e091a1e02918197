"""Charges, moments and energies of a model alloy on a periodic lattice.

``A_s[i, j]`` is how often site j, images included, lies in the s-th neighbour shell of site
i; ``c_s`` is the number of sites in that shell, ``r_s`` its radius; χ, μ, s and ε are properties of
the element at a site (see :class:`Hamiltonian`).

The charge transfer is antisymmetric in each pair, so that a cell is neutral term by term::

    u_i  = Σ_j A_1[i,j] [e_i ≠ e_j] / c_1                        unlike first neighbours
    q_i  = Σ_s w_s Σ_j A_s[i,j] (χ_i - χ_j) / (1 + β (u_i + u_j))   electrons

Moments follow from the neighbours' bare moments μ, the charge q and the neighbours' moments m⁰::

    h_i  = Σ_s v_s Σ_j A_s[i,j] μ_j / (max μ Σ_s v_s c_s)
    m⁰_i = μ_i (1 + α tanh(2 (1 - h_i)) - γ q_i)
    m_i  = m⁰_i + s_i Σ_s v_s Σ_j A_s[i,j] m⁰_j / Σ_s v_s c_s     Bohr magnetons

The energy is in Ry (e² = 2 Ry bohr)::

    E = Σ_i ε_i + ½ Σ_s V_s Σ_ij A_s[i,j] [e_i ≠ e_j]
      + ½ U Σ_i q_i² + ½ Σ_s (2 / r_s) exp(-r_s / ℓ) Σ_ij A_s[i,j] q_i q_j
      - ½ Σ_s J_s Σ_ij A_s[i,j] m_i m_j

Through q and m the energy of a site depends on the neighbours of its second neighbours, and the
three targets have common causes. There is no noise.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from ensemble_mtl.config.checked import Checked
from ensemble_mtl.data.graph import FloatArray, IntArray

NUM_SHELLS = 3
_SAME_SHELL = 1e-6
"""Distances that differ by less than this share of the cell's edge belong to one shell."""

PerShell = tuple[float, float, float]
PerElement = Annotated[tuple[float, ...], Field(min_length=2)]


class Hamiltonian(Checked):
    """Coefficients of the model; the defaults resemble iron and platinum."""

    electronegativity: PerElement = (1.83, 2.28)
    """χ by element (Pauling's scale)."""
    bare_moment: PerElement = (2.2, 0.0)
    """μ by element, in Bohr magnetons."""
    susceptibility: PerElement = (0.0, 0.12)
    """s by element: how much moment the neighbours induce."""
    energy: PerElement = (-2541.0, -36867.25)
    """ε by element, in Ry."""
    transfer: PerShell = (0.16, 0.08, 0.03)
    """w by shell, in electrons per unit of electronegativity."""
    saturation: NonNegativeFloat = 0.35
    """β: how unlike neighbours weaken each further transfer."""
    moment_weight: PerShell = (1.0, 0.7, 0.2)
    """v by shell."""
    moment_gain: float = 0.25
    """α: growth of the moment among non-magnetic neighbours."""
    moment_charge: float = 0.15
    """γ: growth of the moment per electron given away."""
    pair_energy: PerShell = (-0.006, 0.004, 0.001)
    """V by shell for unlike pairs, in Ry."""
    onsite: NonNegativeFloat = 0.30
    """U, in Ry per squared electron."""
    screening: PositiveFloat = 3.0
    """ℓ, in bohr."""
    exchange: PerShell = (0.0016, 0.0008, -0.0003)
    """J by shell, in Ry per squared Bohr magneton."""


@dataclass(frozen=True)
class Lattice:
    """Sites and neighbour shells of a body-centred tetragonal supercell.

    Attributes:
        positions: ``[n, 3]`` places of the sites, in bohr.
        lengths: lengths of the three orthogonal edges, in bohr.
        adjacency: ``[NUM_SHELLS, n, n]`` the counts A_s.
        radii: ``[NUM_SHELLS]`` the radii r_s, in bohr.
    """

    positions: FloatArray
    lengths: tuple[float, float, float]
    adjacency: FloatArray
    radii: FloatArray


@dataclass(frozen=True)
class Solution:
    """Targets of G configurations of n sites.

    Attributes:
        energy: ``[G]`` total energy in Ry.
        bonding: ``[G]`` total energy without the atoms' own Σ ε, in Ry.
        transfer: ``[G, n]`` charge transfer in electrons.
        moment: ``[G, n]`` magnetic moment in Bohr magnetons.
    """

    energy: FloatArray
    bonding: FloatArray
    transfer: FloatArray
    moment: FloatArray


def lattice(supercell: tuple[int, int, int], a: float, c: float) -> Lattice:
    """Return a supercell of the two-atom cell with the edges a, a and c in bohr.

    Args:
        supercell: repetitions of the cell along its three edges.
        a: edge of the cell's square base.
        c: height of the cell.
    """
    edges = np.array([a, a, c])
    corners = np.array(list(itertools.product(*map(range, supercell))), dtype=np.float64)
    positions = ((corners[:, None] + np.array([[0.0] * 3, [0.5] * 3])) * edges).reshape(-1, 3)
    lengths = np.array(supercell) * edges
    # the first three shells of a body-centred tetragonal lattice lie within the longer one of a and c
    reach = max(a, c) * (1 + _SAME_SHELL)
    counts = [int(np.ceil(reach / length)) for length in lengths]
    shifts = np.array(list(itertools.product(*(range(-k, k + 1) for k in counts)))) * lengths
    difference = positions[None, :, None] + shifts - positions[:, None, None]
    distance = np.linalg.norm(difference, axis=-1)
    # all sites are equivalent, so the shells of the first one are those of all
    ascending = np.sort(distance[0][(distance[0] > _SAME_SHELL)])
    radii = ascending[np.concatenate([[True], np.diff(ascending) > _SAME_SHELL * a])][:NUM_SHELLS]
    adjacency = [(np.abs(distance - radius) <= _SAME_SHELL * a).sum(axis=-1) for radius in radii]
    return Lattice(positions, tuple(lengths.tolist()), np.stack(adjacency).astype(np.float64), radii)


def solve(sites: Lattice, kinds: IntArray, model: Hamiltonian) -> Solution:
    """Return the targets of G configurations of the n ``sites``.

    Args:
        sites: the lattice.
        kinds: ``[G, n]`` number of the element at each site, from 0 in the order of the model's coefficients.
        model: the coefficients.
    """
    chi, mu, susceptibility, energy = (
        np.array(values)[kinds]
        for values in (model.electronegativity, model.bare_moment, model.susceptibility, model.energy)
    )
    shells, coordination = sites.adjacency, sites.adjacency[:, 0].sum(axis=1)
    unlike = (kinds[:, :, None] != kinds[:, None, :]).astype(np.float64)
    transfer = _transfer(shells, coordination[0], chi, unlike, model)
    moment = _moment(shells, coordination, mu, susceptibility, transfer, model)
    coulomb = 2.0 / sites.radii * np.exp(-sites.radii / model.screening)
    bonding = 0.5 * (
        np.einsum("s,sij,gij->g", model.pair_energy, shells, unlike)
        + model.onsite * (transfer**2).sum(axis=1)
        + _quadratic(coulomb, shells, transfer)
        - _quadratic(np.array(model.exchange), shells, moment)
    )
    return Solution(energy.sum(axis=1) + bonding, bonding, transfer, moment)


def _transfer(
    shells: FloatArray, coordination: float, chi: FloatArray, unlike: FloatArray, model: Hamiltonian
) -> FloatArray:
    """Return the charge transfer q ``[G, n]``.

    Args:
        shells: ``[NUM_SHELLS, n, n]`` the counts A_s.
        coordination: c_1, the number of first neighbours.
        chi: ``[G, n]`` electronegativity of the element at each site.
        unlike: ``[G, n, n]`` 1 where the elements of two sites differ, else 0.
        model: the coefficients.
    """
    unlike_share = np.einsum("ij,gij->gi", shells[0], unlike) / coordination  # u_i
    pairs = np.tensordot(model.transfer, shells, axes=1)  # Σ_s w_s A_s, [n, n]
    difference = chi[:, :, None] - chi[:, None, :]
    saturation = 1 + model.saturation * (unlike_share[:, :, None] + unlike_share[:, None, :])
    transfer: FloatArray = (pairs * difference / saturation).sum(axis=2)
    return transfer


def _moment(
    shells: FloatArray,
    coordination: FloatArray,
    mu: FloatArray,
    susceptibility: FloatArray,
    transfer: FloatArray,
    model: Hamiltonian,
) -> FloatArray:
    """Return the magnetic moments m ``[G, n]``.

    Args:
        shells: ``[NUM_SHELLS, n, n]`` the counts A_s.
        coordination: ``[NUM_SHELLS]`` the numbers c_s of sites in the shells.
        mu: ``[G, n]`` bare moment of the element at each site.
        susceptibility: ``[G, n]`` s of the element at each site.
        transfer: ``[G, n]`` charge transfer q.
        model: the coefficients.
    """
    weights = np.array(model.moment_weight)
    neighbour_mean = np.tensordot(weights, shells, axes=1) / (weights @ coordination)  # [n, n], rows sum to 1
    field = mu @ neighbour_mean.T / max(map(abs, model.bare_moment))  # h_i
    bare = mu * (1 + model.moment_gain * np.tanh(2 * (1 - field)) - model.moment_charge * transfer)  # m⁰_i
    moment: FloatArray = bare + susceptibility * (bare @ neighbour_mean.T)
    return moment


def _quadratic(coefficients: FloatArray, shells: FloatArray, values: FloatArray) -> FloatArray:
    """Return Σ_s k_s Σ_ij A_s[i,j] x_i x_j ``[G]``, with coefficients k ``[NUM_SHELLS]`` and values x ``[G, n]``."""
    kernel = np.tensordot(coefficients, shells, axes=1)
    form: FloatArray = ((values @ kernel) * values).sum(axis=1)
    return form
