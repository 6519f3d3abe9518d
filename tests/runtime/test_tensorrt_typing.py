"""Which networks are strongly typed, and which flavour an engine is built from."""

from __future__ import annotations

import pytest

from bisenet_edge.runtime.tensorrt.api import TensorRt, has_int8, parse_version


@pytest.mark.parametrize(
    ("version", "strong"),
    [("8.5.2.2", False), ("10.3.0", False), ("10.11.0", False), ("10.12.0", True), ("11.0.0", True)],
)
def test_typing_is_strong_from_10_12_on(version, strong):
    api = TensorRt(None, parse_version(version), None)
    assert api.strong is strong
    assert api.model_of("int8") == ("int8-typed" if strong else "int8")
    assert api.model_of("fp16") == ("fp16-typed" if strong else "fp32")
    assert api.model_of("fp32") == "fp32"


@pytest.mark.parametrize(
    ("capability", "int8"),
    [((5, 3), False), ((6, 0), False), ((6, 1), True), ((6, 2), False), ((7, 2), True), ((8, 7), True)],
)
def test_which_gpus_have_int8(capability, int8):
    assert has_int8(capability) is int8
