"""`profile --paper`: the paper's table of speeds, at the smallest size."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from bisenet_edge.runtime.profile import network_speed
from bisenet_edge.toolchain import random_artifact
from bisenet_edge.toolchain.models import zoo

TOLD = "measuring {} at 64x64 in {}: about {}0 s. Ctrl-C ends it; nothing is left behind\n"
TINY = ("profile", "--paper", "--res", "64x64", "--models", "bisenet-xception39")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(network_speed, "BUDGET_S", 0.1)


def test_a_network_in_each_precision_beside_the_paper(workplace, bisenet_edge):
    code, out, err = bisenet_edge(*TINY, "--precision", "int8", "--precision", "fp32", "--backend", "cpu")
    assert code == 0
    assert err in [TOLD.format("bisenet-xception39", "int8, fp32", tens) for tens in range(1, 4)]
    assert "weights: random" in out
    header, _, row = (line.split() for line in out.split("\n\n")[1].splitlines())
    assert header == ["network", "size", "INT8", "ms", "fps", "FP32", "ms", "fps", "paper", "ms", "fps"]
    assert row[:2] == ["bisenet-xception39", "64x64"]
    assert all(float(figure) > 0 for figure in row[2:6])
    assert row[6:] == ["-", "-"]  # the paper has no such size
    assert list(workplace.iterdir()) == []


def test_random_weights_run_in_onnx_runtime(workplace, bisenet_edge):
    # Their biases are all 0. One tensor for all of them, which is valid ONNX, made it refuse every graph.
    code, out, _ = bisenet_edge(*TINY, "--precision", "int8", "--backend", "onnxruntime")
    assert code == 0
    assert "onnxruntime" in out.splitlines()[0]


def test_json_of_a_network_whose_logits_have_the_pictures_size(workplace, bisenet_edge):
    words = ("profile", "--paper", "--res", "64x64", "--models", "enet", "--precision", "int8", "--json")
    code, out, _ = bisenet_edge(*words)
    assert code == 0
    told = json.loads(out)
    assert "random" in told["weights"]
    (cell,) = told["cells"]
    assert (cell["model"], cell["size"], cell["precision"]) == ("enet", "64x64", "int8")
    assert cell["samples"] >= network_speed.LEAST_SAMPLES
    assert cell["fps"] == pytest.approx(1000 / cell["median_ms"])
    assert cell["convolutions_int8"] == cell["convolutions"] == 90
    assert cell["paper"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--paper", "--models", "segnett"), "did you mean 'segnet'?"),
        (("--models", "segnet"), "add --paper"),
        (("--paper", "--estimate", "orin-nano"), "--estimate too"),
        (("--paper", "--against", "old.json"), "--against too"),
        (("--paper", "somewhere"), "ARTIFACT too"),
        (("--paper", "--samples", "200"), "--samples too"),
        (("--paper", "--layers", "--force", "--burst", "3"), "--burst, --force, --layers too"),
        (("--paper", "--models", ", "), "names no network"),
        (("--paper", "--backend", "null"), "computes no masks"),
        (("--paper", "--precision", "int4"), "unknown precision"),
    ],
)
def test_what_it_refuses(workplace, bisenet_edge, words, says):
    code, out, err = bisenet_edge("profile", *words)
    assert (code, out) == (2, "")
    assert says in err


def test_the_papers_networks_and_sizes_are_the_default_double(monkeypatch, bisenet_edge):
    from bisenet_edge.cli import profile_paper

    asked = []

    def measure(model, sizes, precisions, engine, progress):
        asked.append((model, [str(size) for size in sizes]))
        cell = network_speed.NetworkSpeed(model, sizes[0], "int8", "double", np.ones(5), {})
        return [cell]

    monkeypatch.setattr(profile_paper, "_measure", measure)
    assert bisenet_edge("profile", "--paper")[0] == 0
    sizes = ["640x360", "1280x720", "1920x1080"]
    assert asked == [(model, sizes) for model in profile_paper.NETWORKS]
    assert set(profile_paper.NETWORKS) <= set(zoo.ZOO)
    asked.clear()
    assert bisenet_edge("profile", "--paper", "--models", "enet, dlc", "--models", "sq")[0] == 0
    assert [model for model, _ in asked] == ["enet", "dlc", "sq"]
    asked.clear()
    words = ("--models", "enet,sq,enet", "--res", "64x64", "--res", "64x64")
    assert bisenet_edge("profile", "--paper", *words)[0] == 0
    assert asked == [("enet", ["64x64"]), ("sq", ["64x64"])]  # each once


def test_random_weights_are_the_same_every_time():
    first, second = (random_artifact.RandomNetwork.make("bisenet-xception39") for _ in range(2))
    states = [network.int8.state_dict() for network in (first, second)]
    assert all((states[0][key] == states[1][key]).all() for key in states[0])


def test_the_users_compiled_models_stay_and_ctrl_c_leaves_nothing_double(
    workplace, monkeypatch, bisenet_edge
):
    from bisenet_edge.cli import profile_paper
    from bisenet_edge.runtime.cache_folder import default_cache

    temporary, own = workplace / "temporary", workplace / "own"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("BISENET_EDGE_CACHE", str(own))
    found = []

    def interrupted(sessions, frame, progress):
        found.extend(path.name for path in default_cache().rglob("*.blob"))
        assert temporary in default_cache().parents
        raise KeyboardInterrupt

    monkeypatch.setattr(profile_paper, "time_networks", interrupted)
    code, out, err = bisenet_edge(*TINY, "--precision", "int8", "--backend", "openvino")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted: what was not finished is not written"
    assert len(found) == 1  # the engine did keep what it compiled, elsewhere
    assert not own.exists()
    assert list(temporary.iterdir()) == []
    assert Path(os.environ["BISENET_EDGE_CACHE"]) == own


def test_the_estimate_grows_with_what_is_computed():
    from bisenet_edge.frame import Size
    from bisenet_edge.toolchain import speed_estimate

    small, large = [Size(640, 360)], [Size(1920, 1080)]
    rate = 50e9

    def seconds(*words):
        return speed_estimate.seconds(*words, rate)

    overhead = speed_estimate.MAKE_S + speed_estimate.EXPORT_S + 3 * network_speed.BUDGET_S
    assert seconds(["enet"], small, ["int8"]) < overhead
    # 1290 GMAC: 26 s a run at this rate, 10 runs and 3 for the export.
    assert seconds(["segnet"], large, ["fp32"]) == pytest.approx(13 * 1290 / 50, rel=0.05)
    assert seconds(["segnet"], large, ["int8", "fp32"]) > 1.2 * seconds(["segnet"], large, ["fp32"])
    assert seconds(["dlc"], [*small, *large], ["fp32"]) > seconds(["dlc"], large, ["fp32"])
    assert speed_estimate.macs_per_s(threads=1) > 0
