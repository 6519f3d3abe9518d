"""Two profiles held against each other: has anything become slower?

Each is the "profile" section of a report.json, or what `profile --json` prints. The samples of both are
needed: a verdict is given from the ratio of the medians with a 95 % bootstrap interval. That interval knows
the noise within the two runs. What differs from one day to the next it cannot know; `max_regression` is there
for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.profile.bootstrap import resampled_medians
from bisenet_edge.runtime.profile.profiler import CAMERA_SIZE

MAX_REGRESSION = 0.05
FASTER, SAME, SLOWER, INCONCLUSIVE = "faster", "same", "slower", "inconclusive"
_KEY = ("model", "size", "backend", "precision")
_SAME_MACHINE = ("board", "cpu", "architecture", "cores")
FORCE = "compare all the same with --force"
_ENGINES = ("openvino", "onnxruntime", "tensorrt")

_ENGINE_SETTINGS = ("version", "gpu", "threads")

Plain = Mapping[str, Any]


@dataclass(frozen=True)
class CaseComparison:
    """One case that both profiles have.

    Attributes:
        case: "bisenet-xception39 640x360 openvino int8".
        before_ms: median frame -> mask time of the older profile.
        now_ms: likewise, of the newer one.
        ratio: now over before; above 1 is slower.
        low: lower end of its 95 % interval.
        high: upper end.
        verdict: "slower" when the whole interval is above 1 + max_regression; "inconclusive" when only a part
            of it is; else "faster" when all of it is below 1, and "same".
    """

    case: str
    before_ms: float
    now_ms: float
    ratio: float
    low: float
    high: float
    verdict: str

    def to_json(self) -> Dict[str, Any]:
        rounded = {k: round(v, 4) for k, v in vars(self).items() if isinstance(v, float)}
        return {"case": self.case, **rounded, "verdict": self.verdict}


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        cases: those that both have.
        unmatched: those that only one has, each with which one.
        reasons: why no verdict can be given; empty = it can.
        max_regression: how much slower is tolerated (0.05 = 5 %).
    """

    cases: Tuple[CaseComparison, ...]
    unmatched: Tuple[str, ...]
    reasons: Tuple[str, ...]
    max_regression: float

    @property
    def verdict(self) -> str:
        """The worst of the cases; "inconclusive" when there are reasons, or nothing to compare."""
        verdicts = {case.verdict for case in self.cases}
        if self.reasons or not verdicts:
            return INCONCLUSIVE
        return next(v for v in (SLOWER, INCONCLUSIVE, SAME, FASTER) if v in verdicts)

    def to_json(self) -> Dict[str, Any]:
        return {
            "verdict": self.verdict,
            "max_regression": self.max_regression,
            "reasons": list(self.reasons),
            "cases": [case.to_json() for case in self.cases],
            "unmatched": list(self.unmatched),
        }


def load_profile(path: Path) -> Dict[str, Any]:
    """The profile in a file: a report.json, or what `profile --json` printed; in a folder, its report.json.

    Raises:
        ArtifactError: no such file, not JSON, no profile in it, or one without its samples.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        section = value if "cases" in value else value.get("profile")
        if not section:
            raise ValueError("no profile in it")
        for case in section["cases"]:
            _name(case)
            burst, count = int(section["burst"]), len(_times_ms(case))
            if burst < 1 or not count or count % burst:
                raise ValueError("samples that are no whole bursts")
        _ = section["machine"]["packages"], section["source"], list(section["reasons"])
    except OSError as error:
        raise _unusable(file, error.strerror or repr(error)) from error
    except KeyError as error:
        raise _unusable(file, f"it lacks {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise _unusable(file, str(error)) from error
    return dict(section)


def differences(now: Plain, before: Plain) -> Tuple[str, ...]:
    """What makes two profiles incomparable: machine, engine versions, camera; one sentence each.

    Args:
        now: a profile, or as much of one as is known before it is measured: "machine" and "source".
        before: a profile.
    """
    here, there = now["machine"], before["machine"]
    pairs = [(key, there.get(key, ""), here.get(key, "")) for key in _SAME_MACHINE]
    used = {case["backend"].replace("reference", "onnxruntime") for case in before["cases"]}
    versions = there["packages"], here["packages"]
    pairs += [(name, *[told.get(name, "") for told in versions]) for name in _ENGINES if name in used]
    pairs.append(("camera frames", before["source"], now["source"]))
    if now.get("power") and before.get("power"):
        pairs.append(("power mode", before["power"].get("mode", ""), now["power"].get("mode", "")))
    return tuple(
        f"{what} differs: {old or 'unknown'} before, {new or 'unknown'} now"
        for what, old, new in pairs
        if old != new
    )


def refusal(before: Plain) -> Optional[Comparison]:
    """A comparison without a verdict when this machine is not the one of `before`; None when it is.

    To be asked before minutes are spent on measuring what cannot be compared.
    """
    found = differences({"machine": describe_machine(), "source": str(CAMERA_SIZE)}, before)
    return Comparison((), (), (*found, FORCE), MAX_REGRESSION) if found else None


def compare(
    now: Plain, before: Plain, max_regression: float = MAX_REGRESSION, *, force: bool = False
) -> Comparison:
    """Hold a profile against an older one, case by case (network, size, engine, precision).

    Args:
        now: "profile" section of a report, with samples.
        before: likewise.
        max_regression: how much slower is tolerated, as a share.
        force: compare although the machines differ.
    """
    newer, older = ({_name(case): case for case in profile["cases"]} for profile in (now, before))
    shared = [name for name in newer if name in older]
    unmatched = [f"{name} (only now)" for name in newer if name not in older]
    unmatched += [f"{name} (only before)" for name in older if name not in newer]
    reasons = [] if force else [*differences(now, before), *_settings(shared, newer, older)]
    reasons += [FORCE] if reasons else []
    for which, profile in (("newer", now), ("older", before)):
        reasons += [f"the {which} profile is itself inconclusive"] if profile["reasons"] else []
    reasons += [] if shared else ["no case is in both profiles"]
    cases: List[CaseComparison] = []
    for name in shared:
        times = (_times_ms(newer[name]), int(now["burst"])), (_times_ms(older[name]), int(before["burst"]))
        cases.append(_compare(name, times, max_regression))
    return Comparison(tuple(cases), tuple(unmatched), tuple(reasons), max_regression)


def _settings(shared: Sequence[str], newer: Mapping[str, Plain], older: Mapping[str, Plain]) -> List[str]:
    """One sentence for each case whose engine is of another version, on another GPU or other threads."""
    found = []
    for name in shared:
        for key in _ENGINE_SETTINGS:
            old, new = (cases[name].get("engine", {}).get(key, "unknown") for cases in (older, newer))
            found += [f"{key} of {name}: {old} before, {new} now"] if old != new else []
    return found


def _compare(name: str, times: Sequence[Tuple[np.ndarray, int]], max_regression: float) -> CaseComparison:
    (now_ms, now_burst), (before_ms, before_burst) = times
    # Two runs: what made one slow at some moment says nothing of the other, so each draws its own bursts.
    ratios = resampled_medians(now_ms, now_burst, 0) / resampled_medians(before_ms, before_burst, 1)
    low, high = (float(end) for end in np.percentile(ratios, (2.5, 97.5)))
    verdict = FASTER if high < 1 else SAME
    if high > 1 + max_regression:
        verdict = SLOWER if low > 1 + max_regression else INCONCLUSIVE
    medians = float(np.median(before_ms)), float(np.median(now_ms))
    return CaseComparison(name, *medians, medians[1] / medians[0], low, high, verdict)


def _name(case: Plain) -> str:
    return " ".join(str(case[key]) for key in _KEY)


def _times_ms(case: Plain) -> np.ndarray:
    """Frame -> mask of each sample, float64 [S]."""
    resize, infer = (np.asarray(case["samples"][stage], np.float64) for stage in ("resize_ms", "infer_ms"))
    if resize.ndim != 1 or resize.shape != infer.shape or not (resize + infer > 0).all():  # nan is not
        raise ValueError("samples that are no times")
    return resize + infer


def _unusable(file: Path, why: str) -> ArtifactError:
    return ArtifactError(
        "there is no profile to compare with",
        got=f"{file}: {why}",
        expected="a report.json that `bisenet-edge profile` wrote, or what `profile --json` printed",
        fix="measure one first: bisenet-edge profile --json > before.json",
    )
