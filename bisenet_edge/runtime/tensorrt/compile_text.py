"""What a compilation says to people; the full command line and the device's print the same lines."""

from __future__ import annotations

from statistics import mean
from typing import Any, Dict, List

SHOWN = 5
MB = 1 << 20


def compile_text(compiled: Dict[str, Any]) -> str:
    """`Compiled.to_json()` for a terminal."""
    device = compiled["device"]
    told = [
        f"{device['gpu']}, compute capability {device['compute_capability']}, TensorRT {device['tensorrt']}, "
        f"CUDA {device['cuda_runtime']}"
    ]
    for engine in compiled["engines"]:
        told += _engine(engine)
    told += ["", f"engines in {compiled['folder']}"]
    if compiled["chosen"]:
        told += [f"runs by default: {compiled['chosen'].upper()}. {compiled['reason']}"]
    else:
        told += [f"no engine is active: {compiled['reason']}"]
    return "\n".join(told)


def _engine(engine: Dict[str, Any]) -> List[str]:
    layers, test = engine["layers"], engine["selftest"]
    because = "; ".join(engine["built_because"])
    how = f"built in {engine['build_s']:.0f} s ({because})" if because else "from the cache"
    if engine["built_with"]["opt_level"] is not None:
        how += f", --opt-level {engine['built_with']['opt_level']}"
    told = ["", f"{engine['precision'].upper()}: {how}"]
    precisions = ", ".join(f"{count} {name}" for name, count in sorted(layers["by_precision"].items()))
    told.append(f"  layers         {layers['layers']}: {precisions}, {len(layers['reformats'])} reformats")
    convolutions = f"{layers['convolutions_int8']} of {layers['convolutions']} in INT8"
    if engine["precision"] == "int8":
        told.append(f"  convolutions   {convolutions}")
        told += [f"    in floating point: {name}" for name in _some(layers["convolutions_float"])]
    for reformat in layers["reformats"][:SHOWN]:
        told.append(f"    reformat {reformat['from']} to {reformat['to']}: {reformat['name']}")
    if len(layers["reformats"]) > SHOWN:
        told.append(f"    and {len(layers['reformats']) - SHOWN} more reformats: --json has all")
    told.append(
        f"  memory         {layers['weight_bytes'] / MB:.1f} MB weights, "
        f"{layers['activation_bytes'] / MB:.1f} MB activations, plan {layers['plan_bytes'] / MB:.1f} MB"
    )
    verdict = "passed" if test["passed"] else "FAILED: this engine is not used"
    told.append(
        f"  self-test      {verdict}; {100 * mean(test['agreements']):.3f} % of the pixels agree "
        f"(needs {100 * test['min_agreement']:g} %), worst class {test['worst_class']}, "
        f"IoU {test['worst_class_iou']:.3f}"
    )
    told += [f"  note           {note}" for note in engine["notes"]]
    return told


def _some(names: List[str]) -> List[str]:
    return names[:SHOWN] + ([f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])
