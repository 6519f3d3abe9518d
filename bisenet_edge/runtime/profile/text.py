"""Profiles, comparisons and estimates as text for a terminal; the same on a workstation and on a device."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence

from bisenet_edge.runtime.pipeline.segmenter import STAGES
from bisenet_edge.runtime.profile.roofline import LABEL
from bisenet_edge.runtime.text_table import table

Plain = Mapping[str, Any]
NOT_AVAILABLE = "not available on this machine"
SHOWN_LAYERS = 5


def profile_text(section: Plain) -> str:
    """The "profile" section of a report: table, ratios, advice, power, and whether it can be trusted."""
    rows = []
    for case in section["cases"]:
        times, stages, paper = case["frame_to_mask"], case["stages"], case["paper"]
        stages_ms = [stages[stage]["p50_ms"] for stage in STAGES]
        percentiles_ms = [times["p50_ms"], times["p90_ms"], times["p99_ms"]]
        time_ms = paper["time_ms"] if paper else None
        rows.append([case["name"], *percentiles_ms, case["fps_throughput"], *stages_ms, time_ms])
    header = ["frame -> mask (ms)", "p50", "p90", "p99", "FPS", *STAGES, "paper"]
    lines = [f"{section['machine']['cpu']}, camera {section['source']}", "", table(header, rows), ""]
    for ratio in section["ratios"]:
        low, high = ratio["ci95"]
        lines.append(
            f"{ratio['size']}: INT8 takes {ratio['int8_over_fp32']:.2f} of {ratio['against'].upper()}'s time "
            f"(95 % interval {low:.2f} to {high:.2f}), {ratio['speedup']:.2f} times as fast"
        )
    for size in dict.fromkeys(ratio["size"] for ratio in section["ratios"]):
        lines += advice([ratio for ratio in section["ratios"] if ratio["size"] == size])
    lines += power_lines(section.get("power"), section["cases"])
    for case in section["cases"]:
        lines += layer_lines(case)
    lines.append(f"peak memory of this process: {section['peak_rss_mb']:.0f} MB")
    lines.append(
        "paper: Titan X, milliseconds per frame. FPS: decode to sink without overlap, mean of all samples."
    )
    if not section["conclusive"]:
        lines += inconclusive(section["reasons"])
    return "\n".join(lines)


def inconclusive(reasons: Sequence[str]) -> List[str]:
    """Why figures cannot be trusted, one reason a line."""
    return ["INCONCLUSIVE:", *(f"  {reason}" for reason in reasons)]


def advice(ratios: Sequence[Plain]) -> List[str]:
    """Where INT8 is not clearly faster than the fastest floating point of one size: what to do."""
    hardest = max(ratios, key=lambda ratio: float(ratio["int8_over_fp32"]))
    low, high = hardest["ci95"]
    flavour, backend = hardest["against"], hardest["backend"]
    if low > 1:
        return [
            f"{hardest['size']}: INT8 does not pay on {backend} here: run with --precision {flavour} "
            f"--backend {backend}, or try another --backend"
        ]
    if high >= 1:
        return [
            f"{hardest['size']}: INT8 is not clearly faster than {flavour.upper()} here: "
            "profile again with more --samples"
        ]
    return []


def layer_lines(case: Plain) -> List[str]:
    """What the layers of a case cost: by precision, reformats, and the slowest; nothing without."""
    layers = case.get("layers") or []
    if not layers:
        return []
    whole_ms = sum(layer["p50_ms"] for layer in layers)
    groups = {"reformats": [layer for layer in layers if layer["reformat"]]}
    for layer in layers:
        if not layer["reformat"]:
            groups.setdefault(layer["precision"], []).append(layer)
    rows = []
    for name, group in groups.items():
        group_ms = sum(layer["p50_ms"] for layer in group)
        rows.append([name, len(group), f"{group_ms:.3f}", f"{group_ms / whole_ms:.1%}" if whole_ms else "-"])
    slowest = sorted(layers, key=lambda layer: -float(layer["p50_ms"]))[: 2 * SHOWN_LAYERS]
    named = [[layer["name"], layer["precision"], f"{layer['p50_ms']:.3f}"] for layer in slowest]
    return [
        "",
        table([f"layers of {case['name']}", "count", "ms", "share"], rows),
        "",
        table(["slowest layers", "precision", "ms"], named),
        "Each layer waits for the one before while it is timed: the sum is more than a frame takes.",
        "",
    ]


def power_lines(power: Optional[Plain], cases: Sequence[Plain]) -> List[str]:
    """Power, temperature and clocks of the run, and what a frame of each case costs."""
    if not power or power["source"] == "none":
        return [f"power, temperature, clocks: {NOT_AVAILABLE}"]
    temperature, lines = power["temperature_c"], []
    drawn = NOT_AVAILABLE
    if power["mean_mw"] is not None:
        drawn = f"{power['mean_mw']:.0f} mW, {power['energy_j']:.1f} J over the run ({power['power_of']})"
    lines.append(f"power ({power['source']}): {drawn}")
    state = []
    if temperature:
        state.append(f"{temperature['start']:.0f} to {temperature['end']:.0f} degrees Celsius")
    for name, key in (("GPU", "gpu_mhz"), ("CPU", "cpu_mhz")):
        if power[key]:
            state.append(f"{name} {power[key]['min']:.0f} to {power[key]['max']:.0f} MHz")
    if power["mode"]:
        state.append(f"power mode {power['mode']}")
    if power["clocks_locked"] is not None:
        state.append("clocks locked" if power["clocks_locked"] else "clocks free")
    lines += ["meanwhile: " + ", ".join(state)] if state else []
    for case in cases:
        energy = case.get("energy") or {}
        if energy.get("mean_mw") is not None:
            cost = f"{energy['mean_mw']:.0f} mW, {energy['mj_per_frame']:.2f} mJ per frame"
            lines.append(f"energy of {case['name']}: {cost}")
    reasons = dict.fromkeys((case.get("energy") or {}).get("reason", "") for case in cases)
    if power["mean_mw"] is not None and any(reasons):
        lines.append(f"energy of a case: not measured: {next(filter(None, reasons))}")
    return lines


def comparison_text(comparison: Plain) -> str:
    """`Comparison.to_json()`: one row per case, and the verdict."""
    rows = [
        [
            case["case"],
            case["before_ms"],
            case["now_ms"],
            case["ratio"],
            f"{case['low']:.2f} to {case['high']:.2f}",
            case["verdict"],
        ]
        for case in comparison["cases"]
    ]
    lines = (
        [table(["frame -> mask, p50 (ms)", "before", "now", "ratio", "95 %", "verdict"], rows)]
        if rows
        else []
    )
    lines += [f"not compared: {name}" for name in comparison["unmatched"]]
    allowed = f"{100 * comparison['max_regression']:g} % slower is tolerated"
    if comparison["reasons"]:
        lines += inconclusive(comparison["reasons"])
    else:
        lines.append(f"against the older profile: {comparison['verdict'].upper()} ({allowed})")
    return "\n".join(lines)


def estimate_text(estimates: Sequence[Plain], title: str, sources: Sequence[str]) -> str:
    """Estimates of one network on one board (`Estimate.to_json()`): bounds, slowest layers, caveats."""
    rows = [
        [
            f"{one['mode']}, {one['precision']}",
            one["compute_ms"],
            one["memory_ms"],
            one["whole_ms"],
            one["by_layer_ms"],
        ]
        for one in estimates
    ]
    header = ["at least (ms)", "operations", "memory", "larger of the two", "the same by layer"]
    first = estimates[0]
    lines = [
        f"{title}: {LABEL}",
        f"{first['gigaoperations']:.2f} billion operations, {first['megabytes']:.1f} MB moved per frame",
        "",
        table(header, rows),
        "",
    ]
    slowest = sorted(first["layers"], key=_layer_ms, reverse=True)[:SHOWN_LAYERS]
    rows = [
        [
            f"{layer['name']} ({layer['kind']})",
            _layer_ms(layer),
            _bound(layer),
            _in(layer),
        ]
        for layer in slowest
    ]
    lines += [table([f"slowest layers, {first['mode']}", "ms", "bound by", "in"], rows), ""]
    notes = dict.fromkeys(f"{one['mode']}: {note}" for one in estimates for note in one["notes"])
    lines += [*notes, *(f"source: {source}" for source in sources)]
    lines.append("The network alone: no decoding, scaling or drawing. No board reaches its peak rates.")
    return "\n".join(lines)


def _layer_ms(layer: Plain) -> float:
    return max(layer["compute_ms"] or 0.0, layer["memory_ms"] or 0.0)


def _in(layer: Plain) -> str:
    return "-" if not layer["operations"] else "INT8" if layer["int8"] else "FP16"


def _bound(layer: Plain) -> str:
    return "operations" if (layer["compute_ms"] or 0.0) > (layer["memory_ms"] or 0.0) else "memory"
