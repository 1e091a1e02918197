"""An audit as text for a terminal."""

from __future__ import annotations

from ensemble_mtl.data.audit import Audit, Duplicates, TargetAudit


def describe(audit: Audit) -> str:
    """Return the audit as lines of text, warnings among them."""
    low, high = audit.edges_per_topology
    edges = f"{low}" if low == high else f"{low} to {high}"
    lines = [
        *(["SYNTHETIC: the numbers come from a model"] if audit.synthetic else []),
        f"{audit.num_graphs} graphs, {audit.num_nodes} atoms, {audit.num_topologies} topologies of {edges} edges",
        "elements: " + _counts(audit.elements),
        *([] if audit.bonds is None else ["bonds: " + _counts(audit.bonds)]),
        f"compositions: {len(audit.compositions)}, {len(audit.single_compositions)} of them with a single graph",
        *(_target_line(target) for target in audit.targets),
        *(f"warning: {a} and {b} are equal in every value" for a, b in audit.duplicated_targets),
        *(f"warning: {a} and {b} are linear functions of each other" for a, b in audit.linear_targets),
        _duplicates_line("exact arrangements" if audit.bonds is None else "molecules", audit.arrangements),
    ]
    if audit.symmetric is not None:
        lines.append(_duplicates_line("arrangements up to symmetry", audit.symmetric))
    elif audit.bonds is None:  # graphs made of bonds have no lattice whose symmetry could be missed
        lines.append("arrangements up to symmetry: unknown without the cell; set data.cell")
    if audit.max_charge_per_atom is not None:
        lines.append(f"charge neutrality: kept within {audit.max_charge_per_atom:.2g} e per atom")
    return "\n".join([*lines, *audit.notes, *(f"skipped {record}" for record in audit.skipped)])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _target_line(target: TargetAudit) -> str:
    title = f"{target.name} ({target.level}, {target.unit or 'dimensionless'})"
    if target.mean is None:
        return f"{title}: no values"
    statistics = f"{target.minimum:g} to {target.maximum:g}, mean {target.mean:g}, std {target.std:g}"
    missing = f", {target.num_missing} missing" if target.num_missing else ""
    return f"{title}: {statistics}{missing}{', CONSTANT: nothing to learn' if target.constant else ''}"


def _duplicates_line(title: str, duplicates: Duplicates) -> str:
    name, difference = max(duplicates.max_difference.items(), key=lambda item: item[1], default=("", 0.0))
    spread = f"; within groups {name} differs by up to {difference:.3g}" if difference else ""
    repeated = f"{duplicates.num_extra} graphs repeat an earlier one, in {duplicates.num_groups} groups"
    return f"{title}: {duplicates.num_distinct} distinct; {repeated}{spread}"
