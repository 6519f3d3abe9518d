"""What the tests on a CUDA device share; on a machine without one they say so and how to run them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.runtime.streets import SyntheticDataset
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.models import zoo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

SIZE = Size(96, 64)


def pytest_generate_tests(metafunc):
    """Every test here runs on the CPU too: that checks the test, where the device is missing."""
    if "device" in metafunc.fixturenames:
        cpu, cuda = pytest.param("cpu", id="cpu_checks_the_test"), pytest.param("cuda", marks=pytest.mark.gpu)
        metafunc.parametrize("device", [cpu, cuda], indirect=True)


@pytest.fixture
def device(request):
    if request.param == "cuda":
        need_cuda()
    # FP32 means FP32 here.
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device(request.param)
    torch.backends.cudnn.allow_tf32 = before


def need_cuda():
    """Skip, and say what is missing."""
    if not torch.cuda.is_available():
        pytest.skip(
            f"no CUDA device: torch {torch.__version__} sees none. "
            "On a machine with an NVIDIA GPU: python -m pytest tests/gpu -m gpu"
        )


@pytest.fixture(scope="session")
def frames():
    """Four streets: uint8 [4, 64, 96, 3], BGR."""
    return np.stack([sample.image for sample in SyntheticDataset("train", 4, SIZE)])


@pytest.fixture(scope="session")
def networks():
    """The shipped network, and a ResNet-18 with random weights; evaluation mode. Do not change them."""
    torch.manual_seed(0)
    resnet = zoo.build("bisenet-resnet18", len(CAMVID)).eval()
    return {
        "bisenet-xception39": checkpoints.read(shipped_checkpoint()).build().eval(),
        "bisenet-resnet18": resnet,
    }
