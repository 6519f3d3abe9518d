"""Shared memory: what a reader takes for a mask is one, whatever the writer does meanwhile."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pictures import CAR, HW, ROAD, frame, fresh_frame, road_and_car, sink_at

from bisenet_edge.errors import SinkError, UsageError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.sinks import ShmSink, shm_layout

DOCS = Path(__file__).resolve().parents[3] / "docs" / "shm"
needs_cc = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no C compiler: sudo apt-get install -y gcc"
)


@pytest.fixture
def name() -> Iterator[str]:
    """A name of shared memory that nobody else has."""
    name = f"bisenet-edge-test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    assert list(Path("/dev/shm").glob(f"*{name}*")) == []


def load_reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_masks", DOCS / "read_masks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reading = load_reader()


def numbered(number: int, hw: tuple[int, int] = HW) -> np.ndarray:
    """The mask that torn.c expects."""
    return np.full(hw, number % 251, np.uint8)


def compiled(source: Path, folder: Path) -> Path:
    program = folder / source.stem
    flags = ["-Wall", "-Wextra", "-Werror", "-std=c11", "-O2", f"-I{DOCS}"]
    subprocess.run(["gcc", *flags, "-o", str(program), str(source)], check=True)
    return program


def test_masks_and_pictures_read_back(name: str) -> None:
    with sink_at(f"shm://{name}?frames=1&slots=3") as sink:
        for index in range(7):
            sink.write(Frame(np.full((*HW, 3), index, np.uint8), 10 * index, 5 + index), road_and_car())
            if index == 0:
                reader = reading.MaskReader(name)
            mask = reader.look()
            assert (mask.number, mask.frame_index, mask.captured_ns) == (index + 1, 10 * index, 5 + index)
            np.testing.assert_array_equal(mask.ids, road_and_car())
            assert mask.picture.shape == (*HW, 3)
            assert (mask.picture == index).all()
            assert reader.still_whole(mask)
            assert reader.look() is None
        assert tuple(reader.labels["names"]) == CAMVID.names
    with pytest.raises(reading.EndedError):
        reader.look()
    with pytest.raises(FileNotFoundError):
        reading.MaskReader(name)


def test_a_mask_that_is_overwritten_while_it_is_read_is_not_taken(name: str) -> None:
    with sink_at(f"shm://{name}?slots=2") as sink:
        sink.write(frame(0), numbered(1))
        reader = reading.MaskReader(name)
        mask = reader.look()
        sink.write(frame(1), numbered(2))
        assert reader.still_whole(mask)  # in the other slot
        sink.write(frame(2), numbered(3))
        assert not reader.still_whole(mask)


def test_a_slot_that_is_being_written_is_not_read(name: str) -> None:
    with sink_at(f"shm://{name}?slots=2") as sink:
        assert isinstance(sink, ShmSink)
        sink.write(frame(0), numbered(1))
        assert sink._segment is not None
        reader = reading.MaskReader(name)
        for generation, readable in ((1, False), (3, False), (4, False), (2, True)):
            sink._segment._words[shm_layout.HEADER_BYTES // 8] = generation
            assert (reader._at(1) is not None) == readable


TORN_IN_PYTHON = """
import sys
from read_masks import open_when_there
reader, wanted, whole, thrown_away, torn = open_when_there(sys.argv[1]), int(sys.argv[2]), 0, 0, 0
while whole < wanted:
    mask = reader.look()
    if mask is not None:
        ids = mask.ids.copy()
        if reader.still_whole(mask):
            whole += 1
            torn += not (ids == mask.number % 251).all()
        else:
            thrown_away += 1
print(whole, thrown_away, torn)
"""


@needs_cc
def test_no_reader_ever_takes_a_torn_mask(name: str, tmp_path: Path) -> None:
    """C and Python read as fast as they can while two slots are overwritten as fast as that goes."""
    program = compiled(Path(__file__).with_name("torn.c"), tmp_path)
    commands = ([str(program), name, "300"], [sys.executable, "-c", TORN_IN_PYTHON, name, "100"])
    readers = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True, cwd=DOCS) for c in commands]
    hw = (360, 640)
    masks, shot = [numbered(n, hw) for n in range(251)], frame(0, hw)
    try:
        with sink_at(f"shm://{name}?slots=2") as sink:
            number, end_s = 0, time.monotonic() + 120
            while any(r.poll() is None for r in readers) and time.monotonic() < end_s:
                number += 1
                sink.write(shot, masks[number % 251])
    finally:
        for reader in readers:
            reader.kill()
    told = [[int(word) for word in reader.communicate()[0].split()] for reader in readers]
    assert [(whole, torn) for whole, _, torn in told] == [(300, 0), (100, 0)]
    assert sum(thrown_away for _, thrown_away, _ in told) > 0  # otherwise nothing was put to the test


@needs_cc
def test_the_test_of_torn_masks_would_notice(name: str, tmp_path: Path) -> None:
    """A writer that does not raise the generation: torn.c must find torn masks."""
    program = compiled(Path(__file__).with_name("torn.c"), tmp_path)
    with sink_at(f"shm://{name}?slots=2") as sink:
        assert isinstance(sink, ShmSink)
        sink.write(frame(0), numbered(1))
        assert sink._segment is not None
        sink._segment._masks[0][100:200] = 7
        done = subprocess.run([str(program), name, "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "1 0 1\n")


@needs_cc
def test_the_examples_print_what_they_read(name: str, tmp_path: Path) -> None:
    program = compiled(DOCS / "read_masks.c", tmp_path)
    commands = ([str(program), name, "2"], [sys.executable, str(DOCS / "read_masks.py"), name, "2"])
    readers = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands]
    try:
        with sink_at(f"shm://{name}") as sink:
            end_s = time.monotonic() + 30
            index = 0
            while any(r.poll() is None for r in readers) and time.monotonic() < end_s:
                sink.write(fresh_frame(index), road_and_car())
                index += 1
                time.sleep(0.01)
    finally:
        for reader in readers:
            reader.kill()
    in_c, in_python = (reader.communicate()[0].splitlines() for reader in readers)
    assert len(in_c) == len(in_python) == 2
    assert all(
        re.fullmatch(rf"frame \d+ 160x120 age \d+\.\d ms {ROAD}:0\.500 {CAR}:0\.500", li) for li in in_c
    )
    assert all(
        re.fullmatch(r"frame \d+ 160x120 age \d+\.\d ms road:0\.500 car:0\.500", li) for li in in_python
    )


@needs_cc
def test_frames_that_grow_get_a_larger_segment_and_readers_follow(name: str, tmp_path: Path) -> None:
    program = compiled(Path(__file__).with_name("torn.c"), tmp_path)
    sizes = [(120, 160), (60, 80), (240, 320), (200, 300), (480, 640)]
    with sink_at(f"shm://{name}") as sink:
        sink.write(frame(0, sizes[0]), numbered(1, sizes[0]))
        reader = reading.MaskReader(name)
        c_reader = subprocess.Popen([str(program), name, "480"], stdout=subprocess.PIPE, text=True)
        try:
            number, seen, end_s = 1, {}, time.monotonic() + 30
            while c_reader.poll() is None and time.monotonic() < end_s:
                number += 1
                hw = sizes[min(number // 100, len(sizes) - 1)]
                sink.write(frame(number, hw), numbered(number, hw))
                mask = reader.look()
                if mask is not None:
                    assert (mask.ids == mask.number % 251).all()
                    seen[mask.ids.shape] = mask.number
                time.sleep(0.0005)
        finally:
            c_reader.kill()
    assert set(seen) == set(sizes)
    assert list(seen.values()) == sorted(seen.values())  # numbers go on
    assert c_reader.communicate()[0].split()[::2] == ["480", "0"]


CRASHES = """
import os, sys
from pictures import frame, road_and_car, sink_at
sink = sink_at(sys.argv[1])
sink.write(frame(0), road_and_car())
print("written", flush=True)
sys.stdin.read()
"""


def test_a_segment_of_a_crashed_writer_is_taken_over_and_of_a_living_one_is_not(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", CRASHES, f"shm://{name}"]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        reader = reading.MaskReader(name)
        assert reader.look().frame_index == 0
        with pytest.raises(SinkError, match="another process writes"):
            sink_at(f"shm://{name}")
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert (Path("/dev/shm") / name).exists()
    with sink_at(f"shm://{name}") as sink:
        sink.write(frame(77), road_and_car())
        assert reader.look() is None  # has noticed, and opened the new one
        assert reader.look().frame_index == 77


def test_two_sinks_of_one_name(name: str) -> None:
    first, second = sink_at(f"shm://{name}"), sink_at(f"shm://{name}")
    with first:
        first.write(frame(0), road_and_car())
        with pytest.raises(SinkError, match="another process writes"), second:
            second.write(frame(0), road_and_car())
        assert reading.MaskReader(name).look().number == 1


def test_permissions_do_not_depend_on_the_umask(name: str) -> None:
    before = os.umask(0)
    try:
        with sink_at(f"shm://{name}") as sink:
            sink.write(frame(0), road_and_car())
            assert stat.S_IMODE((Path("/dev/shm") / name).stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_something_else_of_that_name_stays(name: str) -> None:
    path = Path("/dev/shm") / name
    path.write_text("a database")
    try:
        with pytest.raises(SinkError, match="something else"):
            sink_at(f"shm://{name}")
        assert path.read_text() == "a database"
    finally:
        path.unlink()


def test_no_room_is_an_error_and_not_a_crash(name: str) -> None:
    """A mapping of a file without pages would end the process with SIGBUS."""
    free_bytes = shutil.disk_usage("/dev/shm").free
    mask = np.broadcast_to(np.uint8(0), (1, free_bytes))
    with pytest.raises(SinkError, match="shared memory cannot be had"), sink_at(f"shm://{name}") as sink:
        sink.write(frame(0), mask)


@pytest.mark.parametrize("rest", ["", "a/b", "../x", "x?slots=1", "x?slots=65", "x?frames=2", "x?slot=3"])
def test_uris_that_are_not_understood(rest: str) -> None:
    with pytest.raises(UsageError):
        sink_at(f"shm://{rest}")


@pytest.mark.parametrize(
    ("layout", "heading"), [(shm_layout.HEADER, "header of"), (shm_layout.SLOT, "64 bytes:")]
)
def test_the_document_says_what_the_code_does(layout: np.dtype, heading: str) -> None:
    text = (DOCS / "README.md").read_text().split(heading, 1)[1]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \|", text.split("\n\n", 2)[1], re.MULTILINE)
    assert layout.fields is not None
    found = [(str(at), str(kind.itemsize), name) for name, (kind, at) in layout.fields.items()]
    assert rows == found


def test_the_readers_agree_with_the_layout() -> None:
    assert (reading.HEADER_BYTES, reading.VERSION) == (shm_layout.HEADER_BYTES, shm_layout.VERSION)
    assert reading.LABELS_AT == shm_layout.LABELS_OFFSET
