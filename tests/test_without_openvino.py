"""Machines with PyTorch and a GPU often have no CPU engine: training and the GPU's paths need none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
WITHOUT = """
import importlib.machinery, json, sys

absent = set(json.loads(sys.argv[1]))


class WithoutThem:
    # Not found, as if they had never been installed: an import fails, and so does find_spec.
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in absent:
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(*arguments):
        found = importlib.machinery.PathFinder.find_distributions(*arguments)
        return [one for one in found if one.metadata["Name"] not in absent]


sys.meta_path[:] = [f for f in sys.meta_path if f in (
    importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)] + [WithoutThem]
"""

TRAIN = """
from pathlib import Path

from bisenet_edge.runtime.streets import SyntheticDataset
from bisenet_edge.frame import Size
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.qat import QatRecipe, Start, fine_tune
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.ptq import PostTraining, Scheme
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.train import train

streets = ("synthetic:?count=2&size=64x64",)
common = {"epochs": 1, "batch": 2, "crop": "64x64", "eval_every": 1}
losses = []
best = train(Recipe("bisenet-xception39", streets, **common), Path("fp32"), device="cpu",
             on_epoch=lambda result: losses.append(result.loss))
trained = checkpoints.read(best)
frames = [sample.image for sample in SyntheticDataset("train", 2, Size(64, 64))]
quantized = PostTraining(fold(trained.build()), frames).quantize(Scheme("max"))
fine_tune(Start(trained, quantized, {}), QatRecipe("bisenet-xception39", streets, **common), Path("int8"),
          device="cpu", on_epoch=lambda result: losses.append(result.loss))
"""

GPU_PATH = """
sys.path.insert(0, sys.argv[2])
import gpu_torch

gpu_torch.BURST = 2
gpu_torch.main(["--device", "cpu", "--size", "32x32", "--samples", "2", "--json", "check.json"])
"""

TELL = """
print(json.dumps({"losses": losses, "loaded": sorted(absent & set(sys.modules)), "best": str(best)}))
"""


def run(code: str, absent: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + code, json.dumps(absent), str(BENCHMARKS)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_training_and_the_gpus_script_need_torch_and_opencv_only(tmp_path):
    absent = (
        "openvino",
        "onnxruntime",
        "onnxsim",
        "onnx",
        "tqdm",
        "jinja2",
        "matplotlib",
        "click",
        "tensorrt",
    )
    done = run(TRAIN + GPU_PATH + TELL, absent, tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["loaded"] == []
    assert len(told["losses"]) == 2  # one epoch in FP32, one of the INT8 network
    assert min(told["losses"]) > 0
    assert (tmp_path / told["best"]).is_file()
    assert json.loads((tmp_path / "check.json").read_text())["figures"] is False


def test_the_graph_is_written_without_an_engine(tmp_path):
    code = """
from bisenet_edge.frame import Size
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.onnx_graph import to_onnx
from bisenet_edge.toolchain.quant.fold import fold

model = to_onnx(fold(checkpoints.read(shipped_checkpoint()).build()), Size(64, 64))
print(json.dumps({"output": model.graph.output[0].name, "loaded": sorted(absent & set(sys.modules))}))
"""
    done = run(code, ("openvino",), tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"output": "mask", "loaded": []}


def test_an_artifact_without_the_engine_that_verifies_it_is_one_clear_error(tmp_path):
    # Not a weaker artifact: every graph is compared on OpenVINO before the artifact appears.
    code = "from bisenet_edge.cli.app import run\nsys.exit(run(['export', '--res', '32x32']))"
    done = run(code, ("openvino",), tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a package that this command needs is not installed")
    assert "openvino" in done.stderr
    assert "-m pip install bisenet-edge" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("artifacts/*"))
