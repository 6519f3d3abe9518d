"""The whole TensorRT path on a double of the library: build, store, run, read back, choose.

What a double cannot show: that the real parser takes the graph, speed, and the GPU's own rounding. Those are
what the self-test on the device is for.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from cudart_double import Faults as CudaFaults
from gpu_bench import VERSIONS, is_strong
from sysroots import make_jetson

from bisenet_edge.artifact import Artifact, hash_files, write_manifest
from bisenet_edge.errors import BackendError
from bisenet_edge.runtime import jetson
from bisenet_edge.runtime.accuracy import EngineOptions, compare
from bisenet_edge.runtime.backends import choose_backend, open_session
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.selftest import read_golden
from bisenet_edge.runtime.tensorrt.builder import BuildOptions
from bisenet_edge.runtime.tensorrt.compile import Compiler
from bisenet_edge.runtime.tensorrt.store import EngineStore

EIGHT = "(8 multiprocessors)"


@pytest.fixture
def artifact(small_artifact):
    return Artifact.open(small_artifact)


def model_of(precision, version):
    """The flavour that an engine is built from."""
    return f"{precision}-typed" if is_strong(version) else {"int8": "int8", "fp16": "fp32"}[precision]


def reference_masks(artifact, flavour, frames):
    with open_session(artifact, flavour, backend="reference") as session:
        return [session.infer(frame).copy() for frame in frames]


def golden_frames(artifact):
    return [frame for frame, _ in read_golden(artifact, "int8")]


@pytest.mark.parametrize("integrated", [True, False], ids=["integrated", "discrete"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_whole_path(bench, artifact, version, integrated):
    bench.put(version, integrated=integrated, major={"8": 11, "1": 12}[version[0]])
    compiler = Compiler(artifact)
    frames = golden_frames(artifact)
    for precision in ("int8", "fp16"):
        report = compiler.ready(precision)
        assert report.stored is not None
        assert (report.facts["layers"]["convolutions_int8"] > 60) == (precision == "int8")
        with open_session(artifact, precision, backend="tensorrt") as session:
            masks = [session.infer(frame).copy() for frame in frames]
            described = session.describe()
        # Bit for bit what ONNX Runtime makes of the file that this version builds from.
        np.testing.assert_array_equal(masks, reference_masks(artifact, model_of(precision, version), frames))
        assert described["version"].startswith(version)
        assert described["memory"] == ("mapped" if integrated else "pinned")
        assert described["cuda_graph"] == "replayed"
    assert len(bench.world.builds) == 2
    assert bench.gpu.live() == []


def test_both_engines_are_timed_and_the_choice_is_kept(bench, artifact):
    compiled = Compiler(artifact).choose()
    assert compiled.passed
    assert compiled.chosen in ("int8", "fp16")
    assert "of FP16's time" in compiled.reason
    assert [case["precision"] for case in compiled.payoff["cases"]] == ["int8", "fp16"]
    assert Compiler(artifact).default_precision() == (compiled.chosen, compiled.reason)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_is_told_what_the_version_needs(bench, artifact, version):
    bench.put(version)
    compiler = Compiler(artifact)
    for precision in ("int8", "fp16", "fp32"):
        compiler.ready(precision)
    int8, fp16, fp32 = bench.world.builds
    assert {build.strongly_typed for build in (int8, fp16, fp32)} == {is_strong(version)}
    if not is_strong(version):
        assert {"INT8", "FP16"} <= set(int8.flags)
        assert "FP16" in fp16.flags
        assert "INT8" not in fp16.flags
    assert not {"FP16", "INT8", "TF32"} & set(fp32.flags)
    assert {build.verbosity for build in (int8, fp16, fp32)} == {"DETAILED"}


def test_options_reach_the_builder(bench, artifact):
    Compiler(artifact).ready("fp16", BuildOptions(workspace_mb=64, opt_level=5))
    (build,) = bench.world.builds
    assert build.pool_limits == {"WORKSPACE": 64 << 20}
    assert build.level == 5


def test_tensorrt_8_5_says_that_it_has_no_levels(bench, artifact):
    bench.put("8.5")
    report = Compiler(artifact).ready("fp16", BuildOptions(opt_level=5))
    assert "no optimization levels" in report.facts["notes"][0]


def test_a_second_opening_takes_the_engine_from_the_cache(bench, artifact):
    assert Compiler(artifact).ready("int8").reasons == ("there was none",)
    assert Compiler(artifact).ready("int8").reasons == ()
    assert Compiler(artifact).ready("int8", rebuild=True).reasons == ("a rebuild was asked for",)
    assert len(bench.world.builds) == 2


@pytest.mark.parametrize(
    ("version", "gpu", "reason"),
    [
        ("10.13", {}, "built for TensorRT 10.3.0, this is 10.13.3.9"),
        (
            "10.3",
            {"name": "Another"},
            "built on GPU of the double (8 multiprocessors), this is Another (8 multiprocessors)",
        ),
        ("10.3", {"compute_capability": (7, 2)}, "built for compute capability 8.7, this is 7.2"),
    ],
)
def test_another_device_or_version_rebuilds_and_says_why(bench, artifact, version, gpu, reason):
    Compiler(artifact).ready("fp16")
    bench.put(version, **gpu)
    report = Compiler(artifact).ready("fp16")
    assert reason in report.reasons
    assert report.stored is not None


def test_a_timing_cache_makes_the_next_build_shorter(bench, artifact, tmp_path):
    Compiler(artifact).ready("fp16")
    (kept,) = (tmp_path / "cache" / "timing").iterdir()
    first = kept.read_bytes()
    assert first
    Compiler(artifact).ready("int8")
    assert len(kept.read_bytes()) >= len(first)


def test_a_foreign_timing_cache_is_started_anew_and_said(bench, artifact, tmp_path):
    Compiler(artifact).ready("fp16")
    (kept,) = (tmp_path / "cache" / "timing").iterdir()
    old = kept.read_bytes()
    bench.put("10.13")
    Compiler(artifact).ready("fp16")
    newer = next(p for p in kept.parent.iterdir() if p != kept)
    newer.write_bytes(old)
    report = Compiler(artifact).ready("fp16", rebuild=True)
    assert "timing cache" in " ".join(report.facts["notes"])


@pytest.mark.parametrize(
    ("fault", "what", "fix"),
    [
        ({"out_of_memory": True}, "ran out of memory", "--workspace-mb"),
        ({"unsupported": "Resize"}, "does not know an operation", "update JetPack"),
        ({"null_plan": True}, "could not build the engine", "bisenet-edge doctor"),
        ({"null_engine": True}, "cannot load an engine", "--rebuild"),
        ({"null_context": True}, "", ""),
    ],
)
def test_a_failed_build_leaves_nothing_and_is_explained(bench, artifact, tmp_path, fault, what, fix):
    bench.faults.__dict__.update(fault)
    with pytest.raises(BackendError) as caught:
        Compiler(artifact).ready("int8")
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert list((tmp_path / "cache").rglob("*.plan")) == []
    assert bench.gpu.live() == []


def test_a_node_without_a_kernel_is_named(bench, artifact):
    import onnx

    model = onnx.load(artifact.model_path("fp32"))
    node = next(node.name for node in model.graph.node if node.op_type == "Conv")
    bench.faults.no_implementation = node
    with pytest.raises(BackendError) as caught:
        Compiler(artifact).ready("fp16")
    assert "no kernel for a node" in caught.value.what
    assert node in caught.value.got


def with_other_golden(artifact, folder, which="*"):
    """A copy of an artifact whose golden masks of a precision no engine can reach."""
    shutil.copytree(artifact.path, folder)
    for path in (folder / "golden").glob(f"mask.{which}-*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), (mask + 1) % len(artifact.manifest.labels))
    manifest = artifact.manifest
    files = {name: digest for name, digest in hash_files(folder).items() if name in manifest.files}
    write_manifest(folder, type(manifest)(**{**vars(manifest), "files": files}))
    return Artifact.open(folder)


def test_an_engine_that_fails_its_self_test_is_never_active(bench, artifact, tmp_path):
    broken = with_other_golden(artifact, tmp_path / "broken")
    compiled = Compiler(broken).choose()
    assert (compiled.passed, compiled.chosen) == (False, "")
    assert list((tmp_path / "cache").rglob("*.plan")) == []
    with pytest.raises(BackendError, match="differ from the bundled ones"):
        open_session(broken, "int8", backend="tensorrt")
    assert bench.gpu.live() == []


def test_when_int8_fails_its_self_test_fp16_really_runs(bench, artifact, tmp_path):
    broken = with_other_golden(artifact, tmp_path / "broken", "int8")
    compiled = Compiler(broken).choose()
    assert (compiled.passed, compiled.chosen) == (False, "fp16")
    assert compiled.reason == "INT8 failed the self-test"
    with open_session(broken, backend="tensorrt") as session:
        assert session.precision == "fp16"


def test_what_was_decided_before_stays_when_nothing_passes(bench, artifact, tmp_path):
    Compiler(artifact).only("fp16")
    broken = with_other_golden(artifact, tmp_path / "broken")
    compiled = Compiler(broken).choose(rebuild=True)
    assert compiled.chosen == "fp16"
    assert "FP16 from before stays the default" in compiled.reason


def test_a_choice_outlives_an_update(bench, artifact):
    Compiler(artifact).only("fp16")
    bench.put("10.13")
    for _ in range(3):
        with open_session(artifact, backend="tensorrt") as session:
            assert session.precision == "fp16"


def test_fp32_is_for_comparisons_and_never_the_default(bench, artifact):
    assert Compiler(artifact).only("fp32").chosen == "int8"
    with open_session(artifact, backend="tensorrt") as session:
        assert session.precision == "int8"


def test_an_engine_is_read_where_nothing_can_be_written(bench, artifact, monkeypatch):
    Compiler(artifact).ready("int8")

    def refuse(self):
        raise AssertionError("locked for reading")

    monkeypatch.setattr(EngineStore, "locked", refuse)
    with open_session(artifact, "int8", backend="tensorrt") as session:
        assert session.precision == "int8"


def test_a_frame_that_could_not_be_submitted_costs_no_other_its_mask(bench, artifact):
    frames = golden_frames(artifact)
    (expected,) = reference_masks(artifact, "int8", frames[:1])
    bench.put("10.3", faults=CudaFaults(no_capture=True))
    with open_session(artifact, "int8", backend="tensorrt") as session:
        session.infer(frames[-1])
        session.submit(frames[0])
        bench.faults.execute_after = 0
        with pytest.raises(BackendError, match="could not run a frame"):
            session.submit(frames[-1])
        np.testing.assert_array_equal(session.finish(), expected)


def test_closing_waits_for_frames_in_flight(bench, artifact):
    session = open_session(artifact, "int8", backend="tensorrt")
    session.submit(golden_frames(artifact)[0])
    waits = bench.gpu.calls["cudaStreamSynchronize"]
    session.close()
    assert bench.gpu.calls["cudaStreamSynchronize"] > waits
    assert bench.gpu.live() == []


def test_the_engine_before_stays_active_when_a_new_one_fails(bench, artifact):
    before = Compiler(artifact).ready("int8").stored
    bench.faults.out_of_memory = True
    with pytest.raises(BackendError):
        Compiler(artifact).ready("int8", rebuild=True)
    bench.faults.out_of_memory = False
    assert Compiler(artifact).ready("int8").stored == before


@pytest.mark.parametrize("capability", [(5, 3), (6, 2)], ids=["Nano", "TX2"])
def test_a_gpu_without_int8_gets_fp16_with_a_word(bench, artifact, capability):
    bench.put("8.6", compute_capability=capability, integrated=True)
    compiled = Compiler(artifact).choose()
    assert compiled.chosen == "fp16"
    assert "has no INT8 arithmetic: FP16 instead" in compiled.reason
    with pytest.raises(BackendError, match="--precision fp16"):
        Compiler(artifact).ready("int8")
    with open_session(artifact, backend="tensorrt") as session:
        assert session.precision == "fp16"


def test_what_was_chosen_runs_by_default(bench, artifact):
    compiled = Compiler(artifact).only("fp16")
    assert compiled.reason == "asked for"
    with open_session(artifact, backend="tensorrt") as session:
        assert session.precision == "fp16"


def test_without_a_choice_int8_runs(bench, artifact):
    with open_session(artifact, backend="tensorrt") as session:
        assert session.precision == "int8"


def test_frames_in_flight_keep_their_masks(bench, artifact):
    frames = [np.full_like(golden_frames(artifact)[0], value) for value in (0, 60, 120, 180, 240)]
    frames[::2] = golden_frames(artifact)[: len(frames[::2])] or frames[::2]
    expected = reference_masks(artifact, "int8", frames)
    buffers = [np.zeros_like(expected[0]) for _ in frames]
    with open_session(artifact, "int8", backend="tensorrt") as session:
        assert session.in_flight == 2
        session.submit(frames[0], buffers[0])
        for index in range(1, len(frames)):
            session.submit(frames[index], buffers[index])
            assert session.finish() is buffers[index - 1]
        session.finish()
    np.testing.assert_array_equal(buffers, expected)


def test_a_third_frame_in_flight_is_refused(bench, artifact):
    frame = golden_frames(artifact)[0]
    with open_session(artifact, "fp16", backend="tensorrt") as session:
        session.submit(frame)
        session.submit(frame)
        with pytest.raises(BackendError, match="too many frames in flight"):
            session.submit(frame)
        session.finish()
        session.finish()


def test_without_cuda_graphs_frames_run_all_the_same(bench, artifact):
    bench.put("10.3", faults=CudaFaults(no_capture=True))
    frames = golden_frames(artifact)
    with open_session(artifact, "int8", backend="tensorrt") as session:
        masks = [session.infer(frame).copy() for frame in frames]
        refusal = session.describe()["cuda_graph"]
    assert refusal not in ("", "replayed")
    np.testing.assert_array_equal(masks, reference_masks(artifact, "int8", frames))


def test_a_failing_frame_is_told(bench, artifact):
    frame = golden_frames(artifact)[0]
    Compiler(artifact).ready("int8")
    bench.put("10.3", faults=CudaFaults(no_capture=True))
    with open_session(artifact, "int8", backend="tensorrt") as session:
        bench.faults.execute_after = 0
        with pytest.raises(BackendError, match="could not run a frame"):
            session.infer(frame)


def test_layers_are_timed(bench, artifact):
    with open_session(artifact, "int8", backend="tensorrt") as session:
        layers = session.engine.time_layers(golden_frames(artifact))
        session.infer(golden_frames(artifact)[0])  # the session goes on
    assert len(layers) > 60
    assert all(layer["p50_ms"] > 0 for layer in layers)
    assert {"int8"} <= {layer["precision"] for layer in layers}


@pytest.mark.parametrize("version", ["8.6", "10.3"])
def test_progress_is_told_while_building(bench, artifact, version):
    bench.put(version)
    bench.faults.build_steps = 5
    told = []
    Compiler(artifact, lambda *step: told.append(step)).ready("fp16")
    steps = [step for step in told if step[0].startswith("building the fp16 engine")]
    assert steps[-1][1:] == (1, 1)
    assert all(done < total for _, done, total in steps[:-1] if total)
    if version == "10.3":
        assert len(steps) > 3


def test_ctrl_c_stops_the_builder_and_leaves_nothing(bench, artifact, tmp_path):
    bench.faults.build_steps = 5

    def interrupt(step, done, total):
        if step.startswith("building") and done < total:
            os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        Compiler(artifact, interrupt).ready("fp16")
    assert list((tmp_path / "cache").rglob("*.plan")) == []
    assert bench.gpu.live() == []


def test_sigterm_during_a_build_reaches_its_handler(bench, artifact, tmp_path):
    bench.faults.build_steps = 5
    heard = []

    def stop(number, frame):
        heard.append(number)
        raise SystemExit(0)

    def terminate(step, done, total):
        if step.startswith("building") and done < total:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit):
            Compiler(artifact, terminate).ready("fp16")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert list((tmp_path / "cache").rglob("*.plan")) == []


def test_accuracy_is_measured_with_the_engines_themselves(bench, artifact):
    dataset = open_dataset("synthetic:?count=2&size=96x64", "val")
    told = compare(artifact, dataset, options=EngineOptions("tensorrt"))
    reference = compare(artifact, dataset, options=EngineOptions("reference"))
    assert told.backend == "tensorrt"
    assert told.drop_points == pytest.approx(reference.drop_points)
    assert [build.strongly_typed for build in bench.world.builds] == [False, False]


def test_a_machine_with_gpu_and_tensorrt_takes_it(bench):
    assert choose_backend() == "tensorrt"


def test_a_jetson_without_usable_tensorrt_says_so(bench, monkeypatch, tmp_path):
    tree = make_jetson(tmp_path / "orin", "orin-nano-8gb", "36.4.3")
    found = jetson.detect(tree.root)
    assert found
    monkeypatch.setattr(jetson, "detect", lambda: found)
    bench.put("10.3", faults=CudaFaults(no_device=True))
    with pytest.raises(BackendError, match="bisenet-edge doctor"):
        choose_backend()
    assert choose_backend("cpu") == "openvino"


def test_a_pc_without_a_gpu_takes_a_cpu_engine(bench):
    bench.put("10.3", faults=CudaFaults(no_device=True))
    assert choose_backend() == "openvino"


def test_an_artifact_without_int8_runs_in_fp16(bench, artifact, tmp_path):
    folder = tmp_path / "float"
    shutil.copytree(artifact.path, folder)
    files = {k: v for k, v in artifact.manifest.files.items() if "int8" not in k}
    manifest = type(artifact.manifest)(**{**vars(artifact.manifest), "precision": "fp32", "files": files})
    write_manifest(Path(folder), manifest)
    compiled = Compiler(Artifact.open(folder)).choose()
    assert (compiled.chosen, compiled.reason) == ("fp16", "the artifact has no INT8 model")
