"""What a camera offers. The driver is a double here; the real one is asked in tests/emulated."""

from __future__ import annotations

import errno
import fcntl
import struct
from pathlib import Path

import pytest

from bisenet_edge.errors import SourceError
from bisenet_edge.runtime.sources import open_source
from bisenet_edge.runtime.sources.v4l2 import choose_format, offered_fourccs, stable_device


@pytest.fixture
def driver_double(monkeypatch: pytest.MonkeyPatch):
    """Answers VIDIOC_ENUM_FMT for /dev/null with the formats that a test puts into it."""
    fourccs: list[bytes] = []

    def ioctl(fd: int, request: int, argument: bytes) -> bytes:
        assert request == 0xC0405602
        assert len(argument) == 64
        index, kind = struct.unpack_from("=II", argument)
        assert kind == 1
        if index >= len(fourccs):
            raise OSError(errno.EINVAL, "Invalid argument")
        return struct.pack("=III32s4s16x", index, kind, 0, b"some words", fourccs[index])

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return fourccs


def test_the_best_format_is_chosen(driver_double: list[bytes]) -> None:
    driver_double += [b"YUYV", b"H264", b"MJPG"]
    assert offered_fourccs("/dev/null") == ["YUYV", "H264", "MJPG"]
    assert choose_format("/dev/null") == "mjpeg"
    assert choose_format("/dev/null", "yuyv") == "yuyv"
    driver_double.pop()
    assert choose_format("/dev/null") == "yuyv"


def test_formats_that_cannot_be_had(driver_double: list[bytes]) -> None:
    driver_double += [b"H264", b"pRAA"]
    with pytest.raises(SourceError, match=r"(?s)no format.*offers H264, pRAA.*v4l2-ctl"):
        choose_format("/dev/null")
    with pytest.raises(SourceError, match=r"(?s)format that is wanted.*expected: MJPG"):
        choose_format("/dev/null", "mjpeg")


def test_devices_that_are_no_cameras() -> None:
    with pytest.raises(SourceError, match=r"(?s)cannot be opened.*/dev/video97: No such file.*/dev/video"):
        open_source("v4l2://97")
    with pytest.raises(SourceError, match="not a camera"):
        open_source("v4l2:///dev/null")


def test_a_camera_is_remembered_by_its_port(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    (tmp_path / "other").touch()
    links = tmp_path / "v4l"
    assert stable_device(str(device), links) == str(device)
    (links / "by-id").mkdir(parents=True)
    (links / "by-id" / "usb-cam").symlink_to(device)
    assert stable_device(str(device), links) == str(links / "by-id" / "usb-cam")
    (links / "by-path").mkdir()
    (links / "by-path" / "a-port-2").symlink_to(tmp_path / "other")
    (links / "by-path" / "port-1").symlink_to(device)
    assert stable_device(str(device), links) == str(links / "by-path" / "port-1")
    assert stable_device(str(links / "by-id" / "usb-cam"), links) == str(links / "by-path" / "port-1")
