"""Several sinks at once, from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from pictures import read_video


def test_every_sink_gets_every_frame_of_a_file(
    with_artifact: Path, workplace: Path, bisenet_edge: Callable[..., tuple[int, str, str]]
) -> None:
    name = f"bisenet-edge-test-{os.getpid()}"
    sinks = ["overlay.mp4", "masks/", "jsonl://log.jsonl", f"shm://{name}?frames=1", "http://:0", "null://"]
    code, _, told = bisenet_edge("run", "synthetic://?seconds=2&fps=10&size=96x64", *sinks)
    assert code == 0, told
    assert len(read_video(workplace / "overlay.mp4")) == 20
    assert len(list((workplace / "masks").iterdir())) == 20
    lines = [json.loads(line) for line in (workplace / "log.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(20))
    assert all(abs(sum(line["areas"].values()) - 1) < 1e-4 for line in lines)
    assert not (Path("/dev/shm") / name).exists()


def test_a_log_is_never_mistaken_for_the_source(
    with_artifact: Path, workplace: Path, bisenet_edge: Callable[..., tuple[int, str, str]]
) -> None:
    assert bisenet_edge("run", "synthetic://?seconds=1&fps=5&size=96x64", "a.avi")[0] == 0
    before = (workplace / "a.avi").read_bytes()
    code, _, told = bisenet_edge("run", "a.avi", "jsonl://a.avi")
    assert code == 1
    assert "not a log" in told
    assert (workplace / "a.avi").read_bytes() == before
