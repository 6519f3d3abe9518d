"""The bundle on aarch64: installed, self-tested and run by a Debian userland for ARM, under qemu-user.

What it shows is that the code, the ARM wheels and the installer work and give the right masks. Times say
nothing about a Jetson, and no GPU takes part.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from namespaces import Chroot
from needs import need_own_binfmt, need_programs, need_root
from street import FRAMES, read_masks
from trees import PLAIN, SITE, copy_of, debian_tree, wheels, with_users

from bisenet_edge.cli.app import run as cli_run
from bisenet_edge.metrics import agreement

pytestmark = pytest.mark.emulated
MIN_AGREEMENT = 0.99
PROGRAM = "/opt/bisenet-edge/current/bisenet-edge.pyz"
ONNX_RUNTIME = ("numpy<3", "opencv-python-headless>=4.8", "onnxruntime>=1.25,<2", "onnx>=1.16,<2")


@pytest.fixture(scope="module")
def board(tmp_path_factory, release, street):
    """An ARM userland with numpy, OpenCV and ONNX Runtime; the bundle and a street lie in /mnt."""
    need_root("a chroot")
    need_programs("mmdebstrap", "setpriv", "unshare", "qemu-aarch64-static")
    need_own_binfmt()
    tree = tmp_path_factory.mktemp("arm64") / "tree"
    with_users(copy_of(debian_tree("arm64", PLAIN), tree))
    binds = {release: "/mnt/bundle", street: "/mnt/street", wheels("aarch64", *ONNX_RUNTIME): SITE}
    yield Chroot(tree, True, binds, {"ORT_DISABLE_TELEMETRY": "1"})
    shutil.rmtree(tree)


@pytest.fixture(scope="module")
def installed(board):
    done = board.run("sh", "/mnt/bundle/install.sh", "--no-service")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def on(board: Chroot, *words: str) -> subprocess.CompletedProcess[str]:
    done = board.run("python3", PROGRAM, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_it_is_an_arm_machine(board):
    assert board.run("uname", "-m").stdout == "aarch64\n"


def test_the_installer_tests_before_it_switches(installed, board):
    assert "passed" in installed.stdout + installed.stderr
    assert (board.tree / "opt/bisenet-edge/current").is_symlink()


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("backend", ["onnxruntime", "reference"])
def test_selftest(installed, board, backend, precision):
    result = json.loads(
        on(board, "selftest", "--json", "--backend", backend, "--precision", precision).stdout
    )
    print(result)
    assert result["backend"] == backend
    assert result["precision"] == precision
    assert result["passed"]
    # Against masks that ONNX Runtime computed on x86.
    if (backend, precision) in (("reference", "int8"), ("onnxruntime", "fp32"), ("reference", "fp32")):
        assert min(result["agreements"]) >= MIN_AGREEMENT


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("precision", "frames"), [("int8", FRAMES), ("fp32", 2)])
def test_masks_agree_with_those_of_x86(board, release, street, tmp_path, precision, frames):
    words = ["run", "--backend", "onnxruntime", "--precision", precision, "--frames", str(frames)]
    on(board, *words, "/mnt/street/frames", f"/root/{precision}/")
    here = tmp_path / "masks"
    program = [sys.executable, str(release / "bisenet-edge.pyz")]
    subprocess.run([*program, *words, str(street / "frames"), f"{here}/"], check=True)
    arm, x86 = read_masks(board.tree / "root" / precision, frames), read_masks(here, frames)
    shares = [agreement(a, b) for a, b in zip(arm, x86)]
    print(f"{precision}: {100 * min(shares):.3f} % of the pixels in the worst frame")
    assert min(shares) >= MIN_AGREEMENT


def test_the_default_size(installed, board, tmp_path):
    """One frame of 640x360, where the whole of a Jetson's work is done."""
    from bisenet_edge.artifact import Artifact
    from bisenet_edge.runtime.selftest import read_golden

    few = ["--data", "synthetic:?count=8&size=640x360", "--count", "4"]
    assert cli_run(["export", "--int8", *few, "--out", str(tmp_path / "large")]) == 0
    there = replace(board, binds={**board.binds, tmp_path: "/mnt/large"})
    words = ["run", "--artifact", "/mnt/large/large", "--backend", "reference", "--precision", "int8"]
    on(there, *words, "/mnt/large/large/golden/frame-0.png", "/root/large/")
    frame, golden = next(read_golden(Artifact.open(tmp_path / "large"), "int8"))
    (mask,) = read_masks(board.tree / "root/large", 1)
    assert mask.shape == frame.shape[:2] == (360, 640)
    print(f"{100 * agreement(mask, golden):.3f} % of the pixels at 640x360")
    assert agreement(mask, golden) >= MIN_AGREEMENT


def test_a_video_is_decoded_and_segmented(installed, board):
    on(board, "run", "--backend", "onnxruntime", "/mnt/street/street.mp4", "/root/video/")
    # Not compared: see `street.write_street`.
    read_masks(board.tree / "root/video")


def test_openvino_runs_too(installed, board):
    """Not what a Jetson takes, but the first choice on a CPU: its ARM wheel gives right masks as well."""
    openvino = {**board.binds, wheels("aarch64", "openvino>=2024.6"): "/opt/openvino"}
    with_openvino = replace(
        board, binds=openvino, environment={**board.environment, "PYTHONPATH": "/opt/openvino"}
    )
    words = ["selftest", "--json", "--backend", "openvino", "--precision", "int8"]
    result = json.loads(on(with_openvino, *words).stdout)
    print(result)
    assert result["backend"] == "openvino"
    assert result["passed"]
