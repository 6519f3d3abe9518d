"""What was wanted, and whether one run reached it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .contest import Result
from .figures import Ratio, Summary
from .floors import Floor
from .plan import TARGET_SIZE
from .startup import TARGET_FIRST_MASK_S, TARGET_RSS_MB


@dataclass(frozen=True)
class Target:
    """A wish, for one network.

    Attributes:
        text: what.
        wanted: limit.
        at_most: smaller is better.
        measured: None = not measured in this run.
        unit: behind the figures.
    """

    model: str
    text: str
    wanted: float
    measured: Ratio | None
    at_most: bool = False
    unit: str = "x"

    @property
    def reached(self) -> bool | None:
        """By the median; None = not measured."""
        if self.measured is None:
            return None
        value = self.measured.value
        return value <= self.wanted if self.at_most else value >= self.wanted

    @property
    def verdict(self) -> str:
        """One word or two; "within the spread" says that the interval has both sides of the limit."""
        if self.measured is None or self.reached is None:
            return "not measured"
        word = "reached" if self.reached else "NOT reached"
        doubtful = self.measured.low <= self.wanted <= self.measured.high
        return f"{word}, within the spread" if doubtful and self.measured.low < self.measured.high else word

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "measured": self.measured.to_json() if self.measured else None,
            "reached": self.reached,
        }


@dataclass(frozen=True)
class Speedup:
    """Ours over another, (contestant, job) each, and what is wanted of Xception39 and ResNet-18."""

    text: str
    ours: tuple[str, str]
    other: tuple[str, str]
    wanted: tuple[float, float]


SPEEDUPS = (
    Speedup(
        "frame -> mask, INT8, over plain ONNX Runtime FP32",
        ("ours-int8", "mask"),
        ("ort-fp32", "mask"),
        (8.0, 12.0),
    ),
    Speedup(
        "frame -> mask, INT8, over a competent OpenVINO user",
        ("ours-int8", "mask"),
        ("nncf-int8-ppp", "mask"),
        (2.8, 2.1),
    ),
    Speedup(
        "network only, INT8, over NNCF's INT8",
        ("ours-int8", "network"),
        ("nncf-int8-ppp", "network"),
        (1.1, 1.1),
    ),
    Speedup(
        "network only, INT8, over ONNX Runtime FP32",
        ("ours-int8", "network"),
        ("ort-fp32", "network"),
        (4.5, 10.0),
    ),
    Speedup(
        "frame -> mask, ONNX Runtime fallback INT8 over its FP32 (argmax in the graph)",
        ("ours-ort-int8", "mask"),
        ("ort-fp32-argmax", "mask"),
        (2.3, 2.9),
    ),
)
OVER_FLOOR = (3.2, 1.4)
VIDEO = (0.85, 0.95)
NETWORKS = ("bisenet-xception39", "bisenet-resnet18")


def main_result(results: Sequence[Result], model: str) -> Result | None:
    """The contest at 640x360 with the most threads."""
    fitting = [r for r in results if r.group.model == model and r.group.size == TARGET_SIZE and r.rows]
    return max(fitting, key=lambda result: result.group.threads, default=None)


def speed_targets(result: Result, floors: Sequence[Floor]) -> list[Target]:
    """Targets of one network at 640x360. Of a network that has none: empty."""
    model = result.group.model
    if model not in NETWORKS:
        return []
    number = NETWORKS.index(model)
    found = [
        Target(model, one.text, one.wanted[number], _ratio(result, one.other, one.ours)) for one in SPEEDUPS
    ]
    floor = next((floor.over for floor in floors if floor.name == "ours-int8"), None)
    found.append(
        Target(model, "network only, INT8, over its compute floor", OVER_FLOOR[number], floor, at_most=True)
    )
    found.append(
        Target(model, "video file -> masks, of bare inference throughput", VIDEO[number], _video(result))
    )
    return found


def _video(result: Result) -> Ratio | None:
    """Throughput of a video against inference alone: the network one frame at a time or several in flight,
    whichever is faster.
    """
    bare = [
        row.summary
        for row in (result.row("ours-int8", "network"), result.row("ours-int8-files", "flow"))
        if row is not None
    ]
    video = result.row("ours-int8-files", "video")
    if video is None or not bare:
        return None
    return Ratio.speedup(min(bare, key=lambda summary: summary.p50_ms), video.summary)


def _ratio(result: Result, other: tuple[str, str], ours: tuple[str, str]) -> Ratio | None:
    slow, fast = result.row(*other), result.row(*ours)
    return Ratio.speedup(slow.summary, fast.summary) if slow and fast else None


def startup_targets(model: str, startup: dict[str, Any]) -> list[Target]:
    """First mask and memory with the default CPU engine and a warm cache."""
    row = next((row for row in startup.get("starts", ()) if row["name"] == "openvino, cached"), None)
    first = memory = None
    if row:
        times = Summary.of([[value] for value in row["round_medians_ms"]])
        half = times.iqr_ms / 2e3
        seconds = times.p50_ms / 1e3
        first = Ratio(seconds, seconds - half, seconds + half)
        memory = Ratio(row["peak_rss_mb"], row["peak_rss_mb"], row["peak_rss_mb"])
    return [
        Target(model, "process start -> first mask, warm cache", TARGET_FIRST_MASK_S, first, True, "s"),
        Target(model, "peak resident memory, 100 frames", TARGET_RSS_MB, memory, True, "MB"),
    ]


def exactness_target(model: str, differing: int) -> Target:
    """Masks of the exact cell argmax against up-sampling and argmax."""
    value = float(differing)
    text = "pixels that differ from up-sampling and argmax"
    return Target(model, text, 0.0, Ratio(value, value, value), at_most=True, unit="pixels")
