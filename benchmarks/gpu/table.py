"""What the parts measured, as a short page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Row = list[str]
Measured = dict[str, Any]
CHECKS = ("derivatives", "epochs", "resumption")
"""What correctness is made of."""


def page(content: Measured) -> str:
    """Markdown: the card, one line per part, then a table of each part's numbers.

    Args:
        content: of ``gpu.json``.
    """
    parts = content["parts"]
    versions = parts.get("versions", {}).get("measured", {})
    python, torch = versions.get("python", "?"), versions.get("torch", "?")
    lines = ["# On a GPU", "", f"Device: {versions.get('card', content['device'])}.", ""]
    if content["device"] != "cuda":
        lines += [f"**No GPU was used ({content['device']}): times say nothing of one.**", ""]
    lines += [f"Sizes: {content['size']}. Python {python}, torch {torch}.", ""]
    lines += _table(["part", "state", "seconds", "remark"], _states(parts))
    for name, title, section in SECTIONS:
        measured = parts.get(name, {}).get("measured")
        if measured:
            lines += [f"## {title}", "", *_safely(section, measured)]
    return "\n".join(lines).rstrip() + "\n"


def _states(parts: Measured) -> list[Row]:
    return [
        [name, result["status"], f"{result['seconds']:.0f}", result["reason"].replace("|", "/")]
        for name, result in parts.items()
    ]


def _safely(section: Callable[[Measured], list[str]], measured: Measured) -> list[str]:
    """A part that was cut short may lack anything; the others are shown all the same."""
    try:
        return section(measured)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        return [f"Incomplete ({type(error).__name__}: {error}); what there is stands in `gpu.json`.", ""]


def _table(heads: Row, rows: list[Row]) -> list[str]:
    if not rows:
        return []
    marks = ["---", *["--:"] * (len(heads) - 1)]
    return [f"| {' | '.join(row)} |" for row in (heads, marks, *rows)] + [""]


def _ceilings(measured: Measured) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in measured["packages"].items())
    lines = [f"{packages}. Loops for CPUs: {measured.get('loops', 'not reached')}.", ""]
    ceilings = measured.get("ceilings", "not measured")
    if isinstance(ceilings, str):
        return [*lines, f"Ceilings: {ceilings}.", ""]
    rows = [[f"product, {name}", f"{value / 1e12:.2f} TFLOP/s"] for name, value in ceilings["product_flops"].items()]
    if ceilings["copy_bytes"]:
        rows.append(["copy, bytes read and written", f"{ceilings['copy_bytes'] / 1e12:.3f} TB/s"])
    return [*lines, *_table(["ceiling", ""], rows)]


def _correctness(measured: Measured) -> list[str]:
    verdict = "Passed" if measured["passed"] else "Not passed"
    lines = [
        f"Reference: {measured['reference']}. Largest deviation, relative to the largest entry; up to "
        f"{measured['tolerance']:g} passes. **{verdict}.**",
        "",
    ]
    rows = [row for check in CHECKS for row in _deviations(measured.get(check, {}))]
    lines += _table(["quantity", "cases", "largest", "where"], rows)
    return [*lines, *_faults(measured), *_bits(measured), ""]


def _deviations(cases: Measured) -> Iterator[Row]:
    """Of each quantity the case that deviates most."""
    by_case = {name: case.get("deviations", {}) for name, case in cases.items()}
    for quantity in dict.fromkeys(key for deviations in by_case.values() for key in deviations):
        values = {name: float(found[quantity]) for name, found in by_case.items() if quantity in found}
        worst = max(values, key=lambda name: values[name])
        yield [quantity, str(len(values)), f"{values[worst]:.1e}", worst]


def _faults(measured: Measured) -> list[str]:
    """A line for each fault, with the cases that have it."""
    cases: dict[str, list[str]] = {}
    for check in CHECKS:
        for name, case in measured.get(check, {}).items():
            faults = [f"not recorded: {reason}" for reason in case.get("refused", [])]
            if case.get("asked") and not case["recordings"] and not faults:
                faults = ["not recorded: no room"]
            if not case["passed"] and not faults:
                faults = [case.get("error", "deviates more")]
            for fault in faults:
                cases.setdefault(f"{check}: {fault}", []).append(name)
    return [f"- {fault} ({', '.join(names)})" for fault, names in cases.items()]


def _bits(measured: Measured) -> list[str]:
    """How many cases agree bit for bit, which is told and not asked for."""
    cases = [case for check in CHECKS for case in measured.get(check, {}).values()]
    keys = ("eager twice the same", "recorded twice the same", "resumed the same")
    answers = {key: [case[key] for case in cases if key in case] for key in keys}
    lines = [f"- {key}, bit for bit: {sum(same)} of {len(same)}" for key, same in answers.items() if same]
    recorded = [case["recordings"] > 0 for case in measured.get("epochs", {}).values() if "recordings" in case]
    return [*lines, f"- networks whose steps were recorded: {sum(recorded)} of {len(recorded)}"]


def _speed(measured: Measured) -> list[str]:
    heads = ["", "eager, ms", "graphs/s × members", "recorded, ms", "graphs/s × members", "to record, ms"]
    heads += ["whole epoch, graphs/s × members", "MiB"]
    lines = []
    for case in measured.values():
        peer = case.get("peer", {"not measured": "the peer was not reached"})
        rows, modes = (
            [[f"{case.get('peer_name', 'peer')}, one model", *_rate(peer), "", "", "", "", _mib(peer)]],
            [peer],
        )
        for size, stack in sorted(case.get("stacks", {}).items(), key=lambda item: int(item[0])):
            eager, recorded = stack["eager"], stack["recorded"]
            took = f"{1e3 * recorded['recording_seconds']:.0f}" if "recording_seconds" in recorded else "–"
            memory = _mib(recorded if recorded.get("memory_mib") else eager)
            best = max(mode.get("epoch_graphs_per_second", 0.0) for mode in (eager, recorded))
            epoch = f"{best:,.0f}" if best else "–"
            rows.append([f"stack of {size}", *_rate(eager), *_rate(recorded), took, epoch, memory])
            modes += [eager, recorded]
        remarks = dict.fromkeys(mode["not measured"] for mode in modes if "not measured" in mode)
        lines += [f"{case['data']}, batch {case['batch']}:", "", *_table(heads, rows)]
        lines += [*[f"- {text}" for text in remarks], ""]
    return [*lines, SPEED_NOTE, ""]


SPEED_NOTE = (
    "An eager step includes the assembly of its batch, a recorded one is the replay alone, and the peer is given a "
    "batch that is ready; a whole epoch includes everything, the recording too, in the faster of the two ways."
)


def _rate(mode: Measured) -> Row:
    if "not measured" in mode:
        return ["–", "–"]
    return [f"{1e3 * mode['step_seconds']:.2f}", f"{mode['graphs_per_second']:,.0f}"]


def _mib(mode: Measured) -> str:
    memory = mode.get("memory_mib")
    return f"{memory['reserved']:,.0f}" if memory else "–"


def _profile(measured: Measured) -> list[str]:
    if "profile" in measured:
        return [f"{measured['profile']}.", ""]
    rows = [
        [f"{case['data']}, members: {size}, {how}", *_step(steps, how)]
        for case in measured.values()
        for size, steps in case["stacks"].items()
        for how in ("eager", "replayed")
        if "not measured" not in steps[how]
    ]
    heads = ["step", "kernels", "waits", "wall, ms", "device, ms", "recordings, ms", "longest in all"]
    return _table(heads, rows)


def _step(steps: Measured, how: str) -> Row:
    step = steps[how]
    recordings = ", ".join(f"{1e3 * value:.0f}" for value in steps["recording_seconds_per_epoch"])
    return [
        str(step["kernels"]) if "kernels" in step else f"{step['operations']} operations",
        str(step.get("waits", "–")),
        f"{1e3 * step['wall_seconds']:.2f}",
        f"{1e3 * step['device_seconds']:.2f}" if "device_seconds" in step else "–",
        recordings if how == "replayed" else "",
        f"`{step['top'][0]['name'][:40].replace('|', '/')}`" if step["top"] else "–",
    ]


def _probes(measured: Measured) -> list[str]:
    rows = []
    for case in measured.values():
        for size, one in case["members"].items():
            published = f"{one['published_seconds']:.1f}" if "published_seconds" in one else "–"
            milliseconds = [f"{1e3 * one[key]:.1f}" for key in ("product_seconds", "forms_seconds")]
            trace = f"{1e3 * one['gauss_newton_seconds']:.0f}"
            rows.append([f"{case['data']}, members: {size}", *milliseconds, one["forms_by"], trace, published])
        peer = case.get("PyHessian", {"not measured": "not reached"})
        text = f"{1e3 * peer['form_seconds_per_task']:.1f}" if "form_seconds_per_task" in peer else peer["not measured"]
        rows.append([f"{case['data']}, PyHessian, one task", "", text, "", "", ""])
    heads = ["", "product, ms", "forms of all tasks, ms", "by", "Gauss-Newton trace, ms", "one probe as published, s"]
    return _table(heads, rows)


def _table_1(measured: Measured) -> list[str]:
    projection = measured.get("projection")
    if not projection:
        return [f"It ended early. {'; '.join(measured.get('failed', []))}", ""]
    last, resumed = measured["epochs"][-1], measured.get("resumed", {})
    recordings = [f"{value:.2f}" for value in measured.get("recording_seconds", [])[:3]]
    with_files = projection["seconds_per_epoch_with_files"]
    rows = [
        ["data", measured["data"]],
        ["members, of which in one stack", f"{measured['members']}, {last['members']}"],
        ["epochs reached", str(last["epoch"])],
        ["seconds before the first epoch", f"{projection['before_first_epoch']:.1f}"],
        ["seconds per epoch, with files", f"{projection['seconds_per_epoch']:.2f}, {with_files:.2f}"],
        ["of which recording", ", ".join(recordings) or "–"],
        ["200 epochs of all members, minutes", f"{projection['minutes_for_all_epochs']:.1f}"],
        ["checkpoints", str(measured.get("checkpoints", "–"))],
        ["resumed, epochs", " to ".join(str(value) for value in resumed.values()) or "no"],
    ]
    remarks = [f"- {text}" for text in measured["failed"] + measured["shortages"] + measured.get("refused", [])]
    return [*_table(["", ""], rows), *remarks, ""]


def _sharing(measured: Measured) -> list[str]:
    if isinstance(measured["workers"], str):
        return [f"{measured['workers']}.", ""]
    numbers = {"one worker": 1, "several workers": measured["workers"]}
    rows = [
        [
            str(number),
            " + ".join(map(str, measured[name]["stacks"])),
            ", ".join(f"{value:.2f}" for value in measured[name]["seconds_per_epoch"]),
            f"{measured[name]['graphs_per_second']:,.0f}",
        ]
        for name, number in numbers.items()
        if name in measured
    ]
    return [
        f"{measured['data']}:",
        "",
        *_table(["workers", "members", "seconds per epoch", "graphs/s × members"], rows),
    ]


SECTIONS: list[tuple[str, str, Callable[[Measured], list[str]]]] = [
    ("versions", "0 Versions and ceilings", _ceilings),
    ("correctness", "1 Correctness", _correctness),
    ("speed", "2 Training speed", _speed),
    ("step_profile", "3 One step", _profile),
    ("probes", "4 Probes", _probes),
    ("table_1", "5 Table 1 in one stack", _table_1),
    ("sharing", "6 Several workers on one device", _sharing),
]
