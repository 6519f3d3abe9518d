"""A real bundle, signed, by the command line, over a real sshd: verified, unpacked, tested, switched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from throwaway_sshd import free_port, wait_until

from bisenet_edge.artifact import Artifact
from bisenet_edge.boards import load_board
from bisenet_edge.cli.app import run
from bisenet_edge.delivery.deliver import STEPS, Delivery, Payload, deliver
from bisenet_edge.delivery.device import Place
from bisenet_edge.resources import data_folder
from bisenet_edge.toolchain.bundle import make_bundle
from bisenet_edge.toolchain.signing import make_key, sign


@pytest.fixture
def reach(device, sshd):
    """The options that lead to the device; the interpreter of these tests is its python3."""
    sshd.fake("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    return ["--prefix", str(device.prefix), "--no-service", "--ssh-config", str(sshd.config)]


def call(capsys, *words):
    capsys.readouterr()
    code = run(list(map(str, words)))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_deploy_status_rollback_prune(device, reach, sshd, with_artifact, capsys, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    jet = ["--host", "jet", *reach]
    deploy = ["deploy", "jetson", *jet, "--any-machine", "--allow-unsigned"]
    deploy += ["--latency-budget-ms", "none"]
    code, out, _ = call(capsys, *deploy, "--dry-run")
    assert code == 0, out
    assert "planned" in out
    assert "unsigned" in out
    assert device.current == "old"
    assert not os.path.lexists("bundles")

    code, out, err = call(capsys, *deploy, "--json")
    assert code == 0, err + out
    (told,) = json.loads(out)["devices"]
    assert (told["verdict"], told["board"], told["before"]) == ("ok", "orin-nano", "old")
    assert [s["name"] for s in told["steps"]][-1] == "done"
    first = device.current
    assert first.startswith("bisenet-edge-orin-nano-")
    assert err == "", "no bars where there is no terminal"

    code, out, _ = call(capsys, "deploy", "status", *jet, "--json")
    (state,) = json.loads(out)["devices"]
    assert state["device"]["current"] == first
    assert state["device"]["artifact"] == with_artifact.name
    assert state["device"]["installed_for"] == "orin-nano"
    assert state["device"]["serial"]

    # The same network, packed a second later: another serial, another release.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000001")
    code, out, err = call(capsys, *deploy)
    assert code == 0, err + out
    second = device.current
    assert second != first
    assert f"next: bisenet-edge deploy status --host jet --ssh-config {sshd.config}" in out

    code, out, err = call(capsys, "deploy", "rollback", *jet)
    assert code == 0, err + out
    assert device.current == first
    assert os.readlink(device.prefix / "previous") == f"releases/{second}"

    code, out, err = call(capsys, "deploy", "prune", "--keep", 2, *jet)
    assert code == 0, err
    assert "MB freed" in out
    assert sorted(p.name for p in (device.prefix / "releases").iterdir()) == sorted([first, second])
    assert not list((device.prefix / "incoming").glob("bisenet*"))


def test_an_unsigned_bundle_is_refused_by_a_device_that_trusts_a_key(device, reach, with_artifact, capsys):
    code, _, err = call(capsys, "deploy", "jetson", "--host", "jet", *reach, "--any-machine")
    assert code == 1
    assert "verify failed on jet; it runs old" in err
    assert "next:" in err
    assert device.current == "old"


def delivery_of(artifact, tmp_path):
    """A signed bundle, and a device configuration that trusts its key."""
    bundle = make_bundle(Artifact.open(artifact), load_board("orin-nano"), tmp_path / "bundles")
    key = make_key(tmp_path / "key", "tests", passphrase=False)
    etc = tmp_path / "etc"
    etc.mkdir()
    shutil.copy(key.trusted_signers, etc / "trusted_signers")
    signature = sign(bundle.path, key.private).path
    payload = Payload(bundle.path, signature, bundle.sha256, sum(bundle.part_bytes.values()))
    installer = (data_folder("deploy") / "verify-and-install.sh").read_text()
    return Delivery(
        payload_for=lambda board: payload,
        installer=installer,
        # How fast a machine of many users is, is no matter here.
        options=("--etc", str(etc), "--latency-budget-ms", "none"),
        any_machine=True,
    )


def test_cut_at_every_step_of_the_real_installer(device, reach, sshd, proxy, small_artifact, tmp_path):
    """At each step that is told, once, the cable is cut; the command reconnects, the device works on."""
    cut_at = []

    def cut_once(step, done, total):
        if step in STEPS and step not in cut_at:
            cut_at.append(step)
            proxy.cut()

    place = Place(str(device.prefix), service=False)
    way = device.way(place=place, retry_waits_s=(0.1,) * 2 * len(STEPS))
    result = deliver(device.target("cable"), delivery_of(small_artifact, tmp_path), way, cut_once)
    assert result.verdict == "ok", result
    assert tuple(cut_at) == STEPS
    assert tuple(step.name for step in result.steps) == STEPS
    assert "signed by tests" in result.steps[0].detail
    assert device.current == result.steps[-1].detail
    assert result.notes
    assert len([p for p in (device.prefix / "jobs").iterdir() if p.is_dir()]) == 1, "installed once"


def test_ctrl_c_ends_the_command_and_not_the_installation(device, reach, with_artifact):
    words = ["deploy", "jetson", "--host", "jet", *reach, "--any-machine", "--allow-unsigned"]
    command = subprocess.Popen(
        [sys.executable, "-m", "bisenet_edge", *words, "--latency-budget-ms", "none"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until((device.prefix / "jobs" / "last").exists, "the device is at work")
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does: to the command and each ssh
    _, err = command.communicate()
    assert command.returncode == 130, err
    assert "the same command finds out and goes on" in err
    wait_until(device.job_is_over, "the device ends the job by itself")
    assert device.current.startswith("bisenet-edge-orin-nano-")


def test_other_content_than_was_signed_is_refused(device, reach, small_artifact, tmp_path):
    delivery = delivery_of(small_artifact, tmp_path)
    payload = delivery.payload_for("orin-nano")
    changed = tmp_path / "changed" / payload.path.name
    changed.parent.mkdir()
    changed.write_bytes(payload.path.read_bytes() + b"x")
    way = device.way(place=Place(str(device.prefix), service=False))
    for words, says in (
        ({"sha256": "0" * 64}, "not what was sent"),
        ({"path": changed, "sha256": hashlib.sha256(changed.read_bytes()).hexdigest()}, "does not fit"),
    ):
        other = replace(delivery, payload_for=lambda board, words=words: replace(payload, **words))
        result = deliver(device.target(), other, way)
        assert result.verdict == "error"
        assert result.error.what.startswith("verify failed on jet; it runs old")
        assert says in result.error.got
    assert device.current == "old"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["jetson", "--dry-run"], "needs a device"),
        (["jetson", "--host", "-oProxyCommand=touch pwned"], "not a host"),
        (["jetson", "--host", "a", "--host", "a"], "named twice"),
        (["jetson", "--host", "a", "--board", "orin-nan"], "did you mean 'orin-nano'"),
        (["jetson", "--host", "a", "--latency-budget-ms", "fast"], "not a latency budget"),
        (["jetson", "--group", "x"], "chosen from an inventory"),
        (["status"], "no device is named"),
        (["rollback"], "no device is named"),
        (["jetson", "--host", "a", "--sign", "no-key"], "no such key"),
        (["prune", "--host", "a", "--prefix", "/"], "not a folder for releases"),
        (["prune", "--host", "a", "--prefix", "/opt/../etc"], "not a folder for releases"),
    ],
)
def test_wrong_words_are_one_clear_error(workplace, capsys, words, says):
    code, _, err = call(capsys, "deploy", *words)
    assert code == 2
    assert says in err
    assert not list(workplace.iterdir())


def test_a_device_that_is_off(sshd, with_artifact, capsys):
    sshd.add("off", free_port())
    code, _, err = call(capsys, "deploy", "status", "--host", "off", "--ssh-config", sshd.config)
    assert code == 1
    assert "off cannot be reached" in err
