"""The device side in a Python that has nothing but numpy, OpenCV and an engine."""

from __future__ import annotations

import json
import subprocess
import sys

ABSENT = ("torch", "click", "onnx", "onnxsim", "safetensors", "tqdm", "jinja2", "matplotlib", "tensorboard")

# What a device does, from opening an artifact to masks on a disk.
DEVICE_SIDE = """
import importlib.machinery, json, sys
from pathlib import Path

absent, artifact_path = set(json.loads(sys.argv[1])), Path(sys.argv[2])


class WithoutThem:
    # Not found, as if they had never been installed: an import fails, and so does find_spec.
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in absent:
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [f for f in sys.meta_path if f in (
    importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)] + [WithoutThem]

from bisenet_edge.artifact import Artifact
from bisenet_edge.cli import device
from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.pipeline.run import run
from bisenet_edge.runtime.accuracy import Gate, compare
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.evaluation.evaluate import EngineOptions, evaluate_artifact
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.profile.profiler import Case, ProfileOptions, profile
from bisenet_edge.runtime.report.sections import update_report
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.selftest import selftest
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sources import open_source

for name in absent:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} can be imported")

artifact = Artifact.open(artifact_path)
told = {"agreements": {}}
for backend in ("openvino", "reference"):
    for precision in ("int8", "fp32"):
        with open_session(artifact, precision, backend=backend) as session:
            agreements = selftest(artifact, session).agreements
        told["agreements"][f"{precision} {backend}"] = min(agreements)

try:
    open_session(artifact, "int8", backend="onnxruntime")
except BackendError as error:
    told["without onnx"] = str(error)

dataset = open_dataset("synthetic:?count=2&size=96x64", "val")
told["accuracy"] = compare(artifact, dataset).to_json(Gate())
views = Method((0.5, 1.0, 1.5), flip=True)
evaluation = evaluate_artifact(artifact, dataset, "int8", EngineOptions(method=views))
told["evaluation"] = evaluation.to_json()
told["frames"] = evaluation.gallery.write(Path("shown"), "evaluation")

with open_source("synthetic://?size=96x64&seconds=0.2&fps=10") as source:
    frames = [frame.image for frame in iter(source.read, None)]
with open_session(artifact, "int8") as int8, open_session(artifact, "fp32") as fp32:
    result = profile([Case("int8", int8), Case("fp32", fp32)], frames, ProfileOptions(samples=100))
written = update_report(artifact.path, "profile", result.to_json())
told["html"] = written.reason

uri = "synthetic://?size=120x90&seconds=0.3&fps=10"
labels = artifact.manifest.labels
with open_source(uri) as source, open_sink("masks/", labels, 10.0) as masks, \\
        open_sink("overlay.mp4", labels, 10.0) as video, open_session(artifact) as session:
    told["run"] = run(source, Segmenter(session), [masks, video]).to_json()

told["device"] = device.main(["selftest", "--artifact", str(artifact_path), "--min-agreement", "0.9"])
told["loaded"] = sorted(absent & set(sys.modules))
print(json.dumps(told))
"""


def test_the_device_side_runs_without_torch(with_artifact, workplace):
    command = [sys.executable, "-c", DEVICE_SIDE, json.dumps(ABSENT), str(with_artifact)]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["loaded"] == []
    assert told["agreements"]["int8 reference"] == 1.0
    assert told["agreements"]["fp32 reference"] == 1.0
    assert told["agreements"]["fp32 openvino"] > 0.999
    assert told["agreements"]["int8 openvino"] > 0.95
    assert "pip install onnx " in told["without onnx"]
    assert told["accuracy"]["images"] == 2
    assert told["accuracy"]["backend"] == "openvino"
    assert told["evaluation"]["method"]["scales"] == [0.5, 1.0, 1.5]
    assert told["evaluation"]["miou"] > 0
    assert all((workplace / "shown" / frame["file"]).is_file() for frame in told["frames"]["worst"])
    assert "pip install jinja2 matplotlib" in told["html"]
    assert told["run"]["frames_delivered"] == 3
    assert told["device"] == 0
    assert sorted(p.name for p in (workplace / "masks").iterdir()) == [f"00000{i}.png" for i in range(3)]
    assert (workplace / "overlay.mp4").stat().st_size > 0
    assert "profile" in json.loads((with_artifact / "report.json").read_text())
    # A page of older figures beside a newer report.json would contradict it.
    assert not (with_artifact / "report.html").exists()
