"""The log of frames: whole lines, appended, bounded."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pictures import CAR, HW, fresh_frame, road_and_car, sink_at, small_disk

from bisenet_edge.errors import SinkError, UsageError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.class_areas import class_areas
from bisenet_edge.runtime.sinks import disk


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_per_frame_that_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    before = datetime.now(timezone.utc)
    with sink_at(f"jsonl://{path}") as sink:
        for index in (0, 3, 4):
            shot = fresh_frame(index)
            shot.captured_ns -= 40_000_000
            shot.stages_ms = {"infer": 9.12345} if index == 4 else None
            sink.write(shot, road_and_car())
            assert lines(path)[-1]["frame"] == index  # without closing: as `tail -f` sees it
    first, _, last = lines(path)
    assert first["areas"] == {"road": 0.5, "car": 0.5}
    assert first["size"] == list(HW)
    assert first["age_ms"] >= 40
    captured = datetime.fromisoformat(first["captured"])
    assert before - timedelta(seconds=1) < captured < datetime.now(timezone.utc)
    assert "stages_ms" not in first
    assert last["stages_ms"] == {"infer": 9.123}


def test_it_grows_from_run_to_run_and_mends_a_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for index in range(2):
        with sink_at(f"jsonl://{path}") as sink:
            sink.write(fresh_frame(index), road_and_car())
    assert [line["frame"] for line in lines(path)] == [0, 1]
    path.write_text(path.read_text() + '{"frame": 2, "capt')  # the power failed
    with sink_at(f"jsonl://{path}") as sink:
        sink.write(fresh_frame(3), road_and_car())
    assert json.loads(path.read_text().splitlines()[-1])["frame"] == 3


def test_it_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with sink_at(f"jsonl://{path}?max_mb=1&keep=2") as sink:
        mask = road_and_car((8, 8))
        for index in range(25_000):
            sink.write(Frame(mask, index, time.monotonic_ns()), mask)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    assert all(p.stat().st_size <= 2**20 for p in tmp_path.iterdir())
    indices = [line["frame"] for name in reversed(names) for line in lines(tmp_path / name)]
    assert indices == list(range(indices[0], 25_000))  # nothing is lost between two files


def test_nothing_appears_without_frames(tmp_path: Path) -> None:
    sink_at(f"jsonl://{tmp_path}/log.jsonl").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["video", "pipe", "folder"])
def test_nothing_foreign_is_appended_to(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "input.mp4"
    if kind == "video":
        path.write_bytes(b"\0\0\0 ftypisom")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(SinkError, match=r"input\.mp4"):
        sink_at(f"jsonl://{path}")
    assert kind != "video" or path.read_bytes() == b"\0\0\0 ftypisom"


@pytest.mark.parametrize("uri", ["jsonl://", "jsonl://-", "jsonl://a.jsonl?max=3", "jsonl://a.jsonl?keep=x"])
def test_uris_that_are_not_understood(uri: str, workplace: Path) -> None:
    with pytest.raises(UsageError):
        sink_at(uri)
    assert list(workplace.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of a few MB needs root: sudo make test")
@pytest.mark.parametrize("reserve_mb", [disk.RESERVE_MB, 0])
def test_disk_full(reserve_mb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reserve_mb` 0: another program takes the last bytes between two frames."""
    monkeypatch.setattr(disk, "RESERVE_MB", reserve_mb)
    with small_disk(reserve_mb + 1) as folder:
        mask = road_and_car((8, 8))
        with pytest.raises(SinkError, match="the disk is full"), sink_at(f"jsonl://{folder}/a.jsonl") as sink:
            for index in range(25_000):
                sink.write(Frame(mask, index, time.monotonic_ns()), mask)
        written = lines(folder / "a.jsonl")
        assert len(written) > 1000
        assert [line["frame"] for line in written] == list(range(len(written)))


def test_class_areas_count_every_pixel_once() -> None:
    areas = class_areas(road_and_car(), CAMVID)
    assert list(areas) == list(CAMVID.names)
    assert sum(areas.values()) == 1
    assert areas[CAMVID.names[CAR]] == 0.5
