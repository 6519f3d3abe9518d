from __future__ import annotations

import pytest

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import MAX_SIDE, MIN_SIDE, Size


@pytest.mark.parametrize("text", ["640x360", "640X360", " 640x360 "])
def test_a_size_is_width_times_height(text):
    size = Size.parse(text)
    assert (size.width, size.height) == (640, 360)
    assert size.hw == (360, 640)
    assert str(size) == "640x360"


@pytest.mark.parametrize("text", ["641x359", f"{MIN_SIDE}x{MAX_SIDE}", f"{MAX_SIDE}x{MIN_SIDE}"])
def test_odd_and_extreme_sizes_are_fine(text):
    assert str(Size.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["0x0", "640x0", "31x64", "64x31", "8193x64", "64x8193", "999999x999999", "00x00"]
)
def test_sides_out_of_range_are_refused_with_the_range(text):
    with pytest.raises(UsageError, match="out of range") as caught:
        Size.parse(text)
    assert "32 to 8192" in caught.value.expected
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text", ["", "x", "640", "640x", "x360", "640*360", "-640x360", "6.4x3.6", "640x360x3", "1" * 7 + "x360"]
)
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(UsageError, match="cannot read an image size") as caught:
        Size.parse(text)
    assert repr(text) == caught.value.got
