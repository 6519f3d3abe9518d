"""`profile --paper`: the paper's table of speeds, at the smallest size."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bisenet_edge.runtime.profile import network_speed
from bisenet_edge.toolchain import random_artifact
from bisenet_edge.toolchain.models import zoo

TINY = ("profile", "--paper", "--res", "64x64", "--models", "bisenet-xception39")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(network_speed, "BUDGET_S", 0.1)


def test_a_network_in_each_precision_beside_the_paper(workplace, bisenet_edge):
    code, out, err = bisenet_edge(*TINY, "--precision", "int8", "--precision", "fp32", "--backend", "cpu")
    assert (code, err) == (0, "")
    assert "weights: random" in out
    header, _, row = (line.split() for line in out.split("\n\n")[1].splitlines())
    assert header == ["network", "size", "INT8", "ms", "fps", "FP32", "ms", "fps", "paper", "ms", "fps"]
    assert row[:2] == ["bisenet-xception39", "64x64"]
    assert all(float(figure) > 0 for figure in row[2:6])
    assert row[6:] == ["-", "-"]  # the paper has no such size
    assert list(workplace.iterdir()) == []


def test_random_weights_run_in_onnx_runtime(workplace, bisenet_edge):
    # Their biases are all 0. One tensor for all of them, which is valid ONNX, made it refuse every graph.
    code, out, err = bisenet_edge(*TINY, "--precision", "int8", "--backend", "onnxruntime")
    assert (code, err) == (0, "")
    assert "onnxruntime" in out.splitlines()[0]


def test_json_of_a_network_whose_logits_have_the_pictures_size(workplace, bisenet_edge):
    words = ("profile", "--paper", "--res", "64x64", "--models", "enet", "--precision", "int8", "--json")
    code, out, err = bisenet_edge(*words)
    assert (code, err) == (0, "")
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


def test_random_weights_are_the_same_every_time():
    first, second = (random_artifact.RandomNetwork.make("bisenet-xception39") for _ in range(2))
    states = [network.int8.state_dict() for network in (first, second)]
    assert all((states[0][key] == states[1][key]).all() for key in states[0])
