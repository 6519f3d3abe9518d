"""`deploy keygen` and `deploy jetson --sign`, up to the script that checks a bundle on a device."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="no ssh-keygen: apt-get install -y openssh-client"
)


def test_from_a_key_to_a_bundle_that_a_device_takes(with_artifact, workplace, bisenet_edge):
    code, out, err = bisenet_edge("deploy", "keygen", "--no-passphrase", "--out", "k/key", "--signer", "me")
    assert (code, err) == (0, "")
    assert "/etc/bisenet-edge/trusted_signers" in out
    assert "next: bisenet-edge deploy jetson --sign k/key" in out
    code, out, _ = bisenet_edge("deploy", "jetson", "--board", "cpu", "--sign", "k/key", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["signature"]["key"].startswith("SHA256:")
    (workplace / "etc").mkdir()
    shutil.copy("k/key.trusted_signers", "etc/trusted_signers")
    words = [told["path"], "--check", "--prefix", workplace / "opt", "--etc", workplace / "etc"]
    done = subprocess.run(["sh", told["verifier"], *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip().endswith("signed by me")) == (0, True), done.stderr


def test_an_unsigned_bundle_says_so(with_artifact, workplace, bisenet_edge):
    code, out, _ = bisenet_edge("deploy", "jetson")
    assert code == 0
    assert "not signed: a device that trusts a key will refuse it" in out
    assert "--allow-unsigned" in out.splitlines()[-1]
    assert "without the model" in out


def test_a_missing_key_is_told_before_anything_is_packed(with_artifact, workplace, bisenet_edge):
    code, _, err = bisenet_edge("deploy", "jetson", "--sign", "none")
    assert (code, "bisenet-edge deploy keygen --out none" in err) == (2, True)
    assert not (workplace / "bundles").exists()


def test_without_a_terminal_no_passphrase_is_asked_for(workplace, bisenet_edge, monkeypatch):
    monkeypatch.setattr("sys.stdin", (workplace / "in").open("w+"))
    code, _, err = bisenet_edge("deploy", "keygen", "--out", "key")
    assert (code, "--no-passphrase" in err) == (2, True)
    assert not (workplace / "key").exists()
