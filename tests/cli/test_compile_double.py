"""`compile`, `check` and `profile` on a device of doubles, through the command line."""

from __future__ import annotations

import json

import pytest
import torch_tensorrt_double
from cudart_double import Faults as CudaFaults

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.tensorrt import api as tensorrt
from bisenet_edge.runtime.tensorrt.builder import BuildOptions, build

ANY_ENGINE = ("--precision", "fp16")


def test_both_engines_are_built_and_the_faster_one_is_named(bisenet_edge, bench, with_artifact):
    code, out, _ = bisenet_edge("compile")
    assert code == 0
    assert "TensorRT 10.3.0" in out
    assert "INT8: built in" in out
    assert "FP16: built in" in out
    assert "runs by default: " in out
    assert out.strip().splitlines()[-1] == "next: bisenet-edge profile"
    measured = Artifact.open(with_artifact).manifest.measured["tensorrt"]
    assert measured["chosen"] in ("int8", "fp16")
    assert "of FP16's time" in measured["reason"]
    assert 'id="tensorrt"' in (with_artifact / "report.html").read_text()


def test_a_second_run_takes_engines_from_the_cache(bisenet_edge, bench, with_artifact):
    bisenet_edge("compile", *ANY_ENGINE)
    code, out, _ = bisenet_edge("compile", *ANY_ENGINE)
    assert code == 0
    assert "FP16: from the cache" in out
    assert len(bench.world.builds) == 1
    _, out, _ = bisenet_edge("compile", *ANY_ENGINE, "--rebuild")
    assert "(a rebuild was asked for)" in out


def test_json_has_layers_reformats_and_memory(bisenet_edge, bench, with_artifact):
    code, out, _ = bisenet_edge("compile", "--precision", "int8", "--json")
    told = json.loads(out)
    assert code == 0
    (engine,) = told["engines"]
    layers = engine["layers"]
    assert layers["convolutions_int8"] == layers["convolutions"] > 60
    assert layers["weight_bytes"] > 0
    assert {"name", "from", "to"} == set(layers["reformats"][0])
    assert engine["selftest"]["passed"]


def test_options_are_given_to_the_builder(bisenet_edge, bench, with_artifact):
    code, _, _ = bisenet_edge("compile", *ANY_ENGINE, "--workspace-mb", "64", "--opt-level", "1")
    assert code == 0
    (build,) = bench.world.builds
    assert (build.pool_limits["WORKSPACE"], build.level) == (64 << 20, 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--precision", "int4"), 2, "unknown precision"),
        (("--opt-level", "9"), 2, "0 to 5"),
        (("--workspace-mb", "0"), 2, "1 MB or more"),
    ],
)
def test_bad_options(bisenet_edge, bench, with_artifact, words, code, said):
    found, out, err = bisenet_edge("compile", *words)
    assert (found, out) == (code, "")
    assert said in err


def test_without_tensorrt_the_remedy_is_named(bisenet_edge, with_artifact):
    code, out, err = bisenet_edge("compile")
    assert (code, out) == (1, "")
    assert "TensorRT is not installed for this Python" in err
    assert "python3-libnvinfer" in err


def test_without_a_gpu_the_remedy_is_named(bisenet_edge, bench, with_artifact):
    bench.put("10.3", faults=CudaFaults(no_device=True))
    code, out, err = bisenet_edge("compile")
    assert (code, out) == (1, "")
    assert "GPU" in err
    assert "next:" in err


def test_out_of_memory_is_told_with_a_remedy(bisenet_edge, bench, with_artifact):
    bench.faults.out_of_memory = True
    code, out, err = bisenet_edge("compile", *ANY_ENGINE)
    assert (code, out) == (1, "")
    assert "ran out of memory" in err
    assert "--workspace-mb" in err


def test_accuracy_of_the_engines(bisenet_edge, bench, with_artifact):
    data = "synthetic:?count=4&size=96x64"
    code, out, _ = bisenet_edge("check", "--data", data, "--backend", "tensorrt", "--precision", "fp16")
    assert code == 0
    assert "FP16 IoU" in out
    assert "engine: tensorrt" in out


def test_run_builds_the_engine_that_is_missing(bisenet_edge, bench, with_artifact, workplace):
    source = "synthetic://?size=96x64&seconds=0.2&fps=10"
    code, _, _ = bisenet_edge("run", source, "masks/", "--backend", "tensorrt")
    assert code == 0
    assert len(list((workplace / "masks").iterdir())) == 2
    assert len(bench.world.builds) == 1


@pytest.fixture
def with_torch_tensorrt(bench, with_artifact, monkeypatch):
    """Torch-TensorRT's double, which gives the plan that TensorRT's double makes of the same network."""
    from bisenet_edge.toolchain.torch_tensorrt.releases import Installed

    version = "2.13.0"
    bench.put("11.0")
    double = torch_tensorrt_double.install(version, monkeypatch)
    here = torch_tensorrt_double.installed(version)
    monkeypatch.setattr(Installed, "here", classmethod(lambda cls: here))
    api = tensorrt.load()
    model = Artifact.open(with_artifact).model_path("int8-typed").read_bytes()
    double.plan = build(api, model, "int8", BuildOptions()).data
    return double


def test_an_engine_of_torch_tensorrt_is_tested_and_runs_by_default(
    bisenet_edge, bench, with_artifact, with_torch_tensorrt
):
    code, out, err = bisenet_edge("compile", "--with", "torch-tensorrt")
    assert code == 0, err
    assert "(made by torch-tensorrt 2.13.0)" in out
    assert "runs by default: INT8. made by torch-tensorrt 2.13.0" in out
    builds = len(bench.world.builds)
    data = "synthetic:?count=2&size=96x64"
    code, out, _ = bisenet_edge("check", "--data", data, "--backend", "tensorrt")
    assert code == 0
    # FP32 alone was built: INT8 ran on the engine that is there.
    assert len(bench.world.builds) == builds + 1


def test_another_checkpoint_than_the_artifacts_is_refused(
    bisenet_edge, with_artifact, with_torch_tensorrt, workplace
):
    (workplace / "other.safetensors").write_bytes(b"other weights")
    words = ("compile", "--with", "torch-tensorrt", "--checkpoint", "other.safetensors")
    code, out, err = bisenet_edge(*words)
    assert (code, out) == (2, "")
    assert "exported from another checkpoint" in err


def test_an_exported_program_is_kept_for_torch(bisenet_edge, with_artifact, with_torch_tensorrt, workplace):
    words = ("compile", "--with", "torch-tensorrt", "--form", "exported-program", "--out", "street.ep")
    code, out, err = bisenet_edge(*words)
    assert code == 0, err
    assert (workplace / "street.ep").is_file()
    assert "exported-program" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "torchtensorrt"), "did you mean 'torch-tensorrt'"),
        (("--form", "dry-run"), "add --with torch-tensorrt"),
        (("--with", "torch-tensorrt", "--form", "ep"), "unknown form"),
    ],
)
def test_bad_options_of_torch_tensorrt(bisenet_edge, bench, with_artifact, words, said):
    code, out, err = bisenet_edge("compile", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_profile_says_what_the_layers_cost(bisenet_edge, bench, with_artifact):
    words = ("profile", "--backend", "tensorrt", "--precision", "int8", "--samples", "100", "--layers")
    code, out, err = bisenet_edge(*words)
    assert code in (0, 4), err  # 4: a busy machine
    assert "layers of bisenet-xception39 96x64 int8" in out
    assert "reformats" in out
    assert "slowest layers" in out
    report = json.loads((with_artifact / "report.json").read_text())
    layers = report["profile"]["cases"][0]["layers"]
    assert len(layers) > 60
    assert {"name", "kind", "precision", "reformat", "p50_ms"} == set(layers[0])
    assert "layers cost" in (with_artifact / "report.html").read_text()


def test_layers_of_another_engine_are_refused(bisenet_edge, with_artifact):
    words = ("profile", "--backend", "cpu", "--precision", "int8", "--samples", "100", "--layers")
    code, out, err = bisenet_edge(*words)
    assert (code, out) == (1, "")
    assert "does not tell what its layers cost" in err
