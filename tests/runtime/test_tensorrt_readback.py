"""The inspector's JSON in the wordings of several versions, read into one shape."""

from __future__ import annotations

import json

import pytest

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.tensorrt.readback import read

CASK = {
    "Name": "/stem/Conv + /stem/Relu",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "a", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
    "Outputs": [
        {"Name": "b", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}
    ],
    "ParameterType": "Convolution",
    "Weights": {"Type": "Int8", "Count": 1000},
    "Bias": {"Type": "Float", "Count": 10},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32",
}
HALF = {
    "Name": "/head/Conv",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "b", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
    "Outputs": [{"Name": "c", "Format/Datatype": "Row major linear FP16 format"}],
    "ParameterType": "Convolution",
    "Weights": {"Type": "Half", "Count": 100},
}
REFORMAT = {
    "Name": "Reformatting CopyNode for Input Tensor 0 to /head/Conv",
    "LayerType": "Reformat",
    "Inputs": [{"Name": "b", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
    "Outputs": [{"Name": "b2", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
    "ParameterType": "Reformat",
}
FUSED = {
    "Name": "__myl_ConvertResiArgm_myl0_4",
    "LayerType": "kgen",
    "Inputs": [{"Name": "c", "Format/Datatype": "Half"}],
    "Outputs": [{"Name": "mask", "Format/Datatype": "UInt8"}],
    "Metadata": "[ONNX Layer: /up/Resize]\x1f[ONNX Layer: /mask/ArgMax]",
    "TacticName": "__myl_ConvertResiArgm",
}
NEW_WORDING = {
    "Name": "/ctx/Conv",
    "LayerType": "gemm",
    "Inputs": [{"Name": "c", "Format": "Row major linear", "Datatype": "Int8"}],
    "Outputs": [{"Name": "d", "Format": "Row major linear", "Datatype": "Half"}],
    "TacticName": "sm87_xmma_fprop_implicit_gemm_i8f16_i8i32_f32",
    "Metadata": "[ONNX Layer: /ctx/Conv]",
}


def layers(*found):
    return read(json.dumps({"Layers": list(found), "Bindings": []}), plan_bytes=7, activation_bytes=9)


def test_layers_are_counted_by_precision():
    result = layers(CASK, REFORMAT, HALF, FUSED, NEW_WORDING)
    assert result.by_precision == {"int8": 2, "fp16": 2}
    assert [layer.name for layer in result.convolutions] == [
        "/stem/Conv + /stem/Relu",
        "/head/Conv",
        "/ctx/Conv",
    ]
    assert result.floating == ("/head/Conv",)


def test_reformats_say_where_and_between_what():
    (found,) = layers(CASK, REFORMAT, HALF).to_json()["reformats"]
    assert found == {"name": REFORMAT["Name"], "from": "int8", "to": "fp16"}


def test_fused_groups_are_read_from_names_and_from_metadata():
    groups = layers(CASK, FUSED, HALF).to_json()["fused_groups"]
    assert groups == [
        {"name": "/stem/Conv + /stem/Relu", "nodes": 2},
        {"name": "__myl_ConvertResiArgm_myl0_4", "nodes": 2},
    ]


def test_a_conversion_is_no_convolution():
    assert layers(FUSED).convolutions == ()


def test_memory_is_told():
    result = layers(CASK, HALF).to_json()
    assert (result["plan_bytes"], result["activation_bytes"]) == (7, 9)
    assert result["weight_bytes"] == 1000 + 4 * 10 + 2 * 100


def test_a_list_without_a_wrapper_is_read():
    assert len(read(json.dumps([CASK]), plan_bytes=0, activation_bytes=0).layers) == 1


@pytest.mark.parametrize("text", ["", "{", "{}", '{"Layers": []}'])
def test_what_is_no_layer_list_is_an_error(text):
    with pytest.raises(BackendError, match="layers"):
        read(text, plan_bytes=0, activation_bytes=0)


def test_names_alone_say_that_the_engine_was_built_without_detail():
    with pytest.raises(BackendError, match="--rebuild"):
        read(json.dumps({"Layers": ["/stem/Conv"]}), plan_bytes=0, activation_bytes=0)
