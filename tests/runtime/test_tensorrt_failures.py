"""What TensorRT logs becomes one error with node and remedy."""

from __future__ import annotations

import pytest

from bisenet_edge.runtime.tensorrt.failures import build_failure, load_failure


@pytest.mark.parametrize(
    ("logged", "what", "node", "fix"),
    [
        (
            ["10: [optimizer.cpp::computeCosts::1855] Error Code 10: Internal Error (Could not find any "
             "implementation for node /ffm/conv/Conv + /ffm/relu/Relu.)"],
            "no kernel for a node",
            "/ffm/conv/Conv + /ffm/relu/Relu",
            "--precision fp16",
        ),
        (
            ["2: [virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (no further "
             "information)"],
            "ran out of memory",
            "",
            "--workspace-mb",
        ),
        (
            ["Could not find any implementation for node stem/Conv due to insufficient workspace. See "
             "verbose log for requested sizes."],
            "ran out of memory",
            "stem/Conv",
            "--workspace-mb",
        ),
        (
            ["No importer registered for op: GridSample (node /warp/GridSample)"],
            "does not know an operation",
            "/warp/GridSample",
            "update JetPack",
        ),
        (["something new went wrong"], "could not build the engine", "", "bisenet-edge doctor"),
        ([], "could not build the engine", "", "bisenet-edge doctor"),
    ],
)  # fmt: skip
def test_a_failed_build_is_explained(logged, what, node, fix):
    error = build_failure(logged, "int8 engine")
    assert what in error.what
    assert (f"node {node}:" in error.got) == bool(node)
    assert fix in error.fix
    for line in logged:
        assert line in error.got


def test_a_silent_failure_says_so():
    assert "nothing was logged" in build_failure([], "int8 engine").got


@pytest.mark.parametrize(
    ("logged", "what"),
    [
        (
            "6: The engine plan file is not compatible with this version of TensorRT, expecting library "
            "version 8.5.2.2 got 8.6.1.6, please rebuild.",
            "another version of TensorRT",
        ),
        (
            "1: [stdArchiveReader.cpp::StdArchiveReader::32] Error Code 1: Serialization (Serialization "
            "assertion stdVersionRead == serializationVersion failed.Version tag does not match.)",
            "another version of TensorRT",
        ),
        (
            "6: The engine plan file is generated on an incompatible device, expecting compute 7.2 got "
            "compute 8.7, please rebuild.",
            "another GPU",
        ),
        ("1: Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG failed."
         "Magic tag does not match)", "damaged"),
        ("2: Error Code 2: OutOfMemory (Requested size was 123 bytes.)", "not enough memory"),
        ("a message of tomorrow", "cannot load an engine"),
    ],
)  # fmt: skip
def test_a_plan_that_is_not_taken_is_explained(logged, what):
    error = load_failure([logged], "a plan")
    assert what in error.what
    assert "bisenet-edge compile" in error.fix or "free -m" in error.fix
