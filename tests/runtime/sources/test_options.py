"""Options in a source's URI."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction

import pytest

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.sources import options as module
from bisenet_edge.runtime.sources.opening import LIVE_TARGETS, open_source
from bisenet_edge.runtime.sources.options import OPTIONS_OF, StreamOptions, split_options


def test_every_option_has_a_reader_and_every_scheme_its_options() -> None:
    assert {f.name for f in fields(StreamOptions)} == {*module._READERS, "given"}
    assert {name for names in OPTIONS_OF.values() for name in names} == set(module._READERS)
    assert set(OPTIONS_OF) == {*LIVE_TARGETS, "file"}


def test_options_of_a_camera() -> None:
    place, options = split_options(
        "csi://0?...",
        "csi",
        "0?width=1280&height=720&fps=30000/1001&flip=2&out=640x360&stall=2.5&wait=forever",
    )
    assert place == "0"
    assert options == StreamOptions(
        width=1280,
        height=720,
        fps=Fraction(30000, 1001),
        flip=2,
        out=Size(640, 360),
        stall=2.5,
        wait="forever",
    )
    assert split_options("x", "v4l2", "/dev/video0?fps=29.97")[1].fps == Fraction(2997, 100)


def test_a_network_camera_keeps_its_own_options() -> None:
    uri = "rtsp://cam/live?channel=1&latency=40&subtype=0&fps=5&a=%20b"
    place, options = split_options(uri, "rtsp", uri.partition("://")[2])
    assert place == "cam/live?channel=1&subtype=0&fps=5&a=%20b"
    assert options.latency == 40


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("csi://0?widht=3", "did you mean 'width'"),
        ("rtsp://me:secret@cam/?latncy=40", "did you mean 'latency'"),
        ("http://cam/?latency=40&stal=1", "did you mean 'stall'"),
        ("v4l2:///dev/video0?codec=h264", "unknown option"),
        ("csi://0?fps=0", "frames per second"),
        ("csi://0?fps=1/0", "frames per second"),
        ("csi://0?width=1280", "both 'width' and 'height'"),
        ("csi://0?width=16&height=16", "from 32 to 8192"),
        ("csi://0?flip=8", "from 0 to 7"),
        ("csi://0?flip=²", "from 0 to 7"),
        ("csi://0?out=641x360", "even numbers"),
        ("csi://0?out=a", "cannot read an image size"),
        ("csi://0?out=640x360&scale=network", "both 'out' and 'scale'"),
        ("csi://0?scale=all", "choose one of: network"),
        ("csi://0?stall=nan", "a number from 0.5"),
        ("csi://0?wait=forevr", "did you mean 'forever'"),
        ("csi://0?backend=gst_launch", "did you mean 'gst-launch'"),
        ("csi://0?scale=network", "needs a network"),
        ("csi://front", "number of a CSI camera"),
        ("csi://0 ! fakesink", "number of a CSI camera"),
        ("v4l2://video0", "device of a camera"),
        ("rtsp://", "address of a stream"),
        ("rtsp://me:secret@cam/a b", "without spaces"),
        ("rtsp://cam/?transport=tpc", "did you mean 'tcp'"),
        ("cis://0", "did you mean 'csi'"),
    ],
)
def test_options_that_are_not_understood(uri: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(uri)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
