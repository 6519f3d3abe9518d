"""Where NVIDIA's ModelOpt puts Q/DQ on our networks; writes modelopt-placement.json beside this file.

Two environments, because ModelOpt pins other versions of onnx and of ONNX Runtime. The first writes the
FP32 graphs of both networks and calibration frames into a folder, the second quantizes them:

    .venv/bin/python tests/data/modelopt_placement.py graphs FOLDER
    python3 -m venv VENV
    VENV/bin/pip install torch "nvidia-modelopt[onnx]==0.47.0"
    VENV/bin/python tests/data/modelopt_placement.py quantize FOLDER

ModelOpt takes our graphs as they stand, from the uint8 frame to the uint8 mask. The light network is also
quantized without its ends, from the normalised picture to the logits, to show which of ModelOpt's choices
come from the ends. Weights are random and frames synthetic: placement depends on neither.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))

from bisenet_edge.toolchain.lint.graph import CONVOLUTIONS, DEQUANTIZE, QUANTIZE, Graph  # noqa: E402

NETWORKS = ("bisenet-xception39", "bisenet-resnet18")
CORE_OF = {"bisenet-xception39 without its ends": "bisenet-xception39"}
PICTURE, LOGITS = "/core/Mul_output_0", "logits"  # the normalised picture
SIZE, FRAMES, CLASSES = "96x64", 4, 11
SETTINGS = {"quantize_mode": "int8", "calibration_method": "max", "high_precision_dtype": "fp32"}


def placement(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Which operands of which nodes come from a DequantizeLinear.

    Returns:
        path of the node -> "input", "weights", "bias" of a convolution, "0", "1", ... of other nodes;
        nodes without any are left out.
    """
    graph = Graph(model)
    placed: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            continue
        names = ("input", "weights", "bias") if node.op_type in CONVOLUTIONS else "012345"
        makers = [graph.producer(name) for name in node.input]
        quantized = [name for name, maker in zip(names, makers) if maker and maker.op_type == DEQUANTIZE]
        if quantized:
            path = graph.path(node)
            assert path not in placed, f"two nodes at {path}"
            placed[path] = quantized
    return placed


def write_graphs(folder: Path) -> None:
    """The FP32 graphs as `bisenet-edge export` makes them, and frames uint8 [N, H, W, 3]."""
    import torch

    from bisenet_edge.frame import Size
    from bisenet_edge.runtime.streets import SyntheticDataset
    from bisenet_edge.toolchain.models import zoo
    from bisenet_edge.toolchain.onnx_graph import to_onnx
    from bisenet_edge.toolchain.quant.fold import fold

    size = Size.parse(SIZE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name in NETWORKS:
        onnx.save(to_onnx(fold(zoo.build(name, CLASSES)), size), str(folder / f"{name}.onnx"))
    for name, whole in CORE_OF.items():
        onnx.utils.extract_model(
            str(folder / f"{whole}.onnx"), str(folder / f"{name}.onnx"), [PICTURE], [LOGITS]
        )
    frames = [sample.image for sample in SyntheticDataset("train", FRAMES, size)]
    np.save(folder / "frames.npy", np.stack(frames))


def quantize_graphs(folder: Path) -> dict[str, Any]:
    """ModelOpt's placement on every graph of `write_graphs`."""
    from modelopt.onnx.quantization import quantize

    frames = np.load(folder / "frames.npy")
    picture = (frames.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 64
    networks = {}
    for name in (*NETWORKS, *CORE_OF):
        data = {PICTURE: picture} if name in CORE_OF else {"frame": frames}
        made = folder / f"{name}.modelopt.onnx"
        quantize(
            str(folder / f"{name}.onnx"),
            calibration_data=data,
            calibration_eps=["cpu"],
            output_path=str(made),
            **SETTINGS,
        )
        networks[name] = placement(onnx.load(str(made)))
    return {
        "made_by": "tests/data/modelopt_placement.py",
        "command": "modelopt.onnx.quantization.quantize",
        "settings": {**SETTINGS, "calibration_eps": ["cpu"]},
        "nvidia-modelopt": importlib.metadata.version("nvidia-modelopt"),
        "onnx": onnx.__version__,
        "size": SIZE,
        "networks": networks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["graphs", "quantize"])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step == "graphs":
        write_graphs(arguments.folder)
        return
    result = quantize_graphs(arguments.folder)
    networks = result.pop("networks")
    # One node per line: a new placement then shows as a line in the diff.
    blocks = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"   {json.dumps(path)}: {json.dumps(operands)}" for path, operands in nodes.items())
        + "\n  }"
        for name, nodes in networks.items()
    ]
    head = json.dumps(result, indent=1).removesuffix("\n}")
    body = ",\n".join(blocks)
    HERE.with_name("modelopt-placement.json").write_text(f'{head},\n "networks": {{\n{body}\n }}\n}}\n')


if __name__ == "__main__":
    main()
