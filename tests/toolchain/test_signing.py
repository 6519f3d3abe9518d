"""Keys and signatures with the real ssh-keygen."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

from bisenet_edge.errors import BisenetEdgeError, MissingDependencyError, SinkError, UsageError
from bisenet_edge.toolchain.signing import NAMESPACE, make_key, sign

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="no ssh-keygen: apt-get install -y openssh-client"
)


@pytest.fixture
def pair(tmp_path):
    return make_key(tmp_path / "keys" / "mine", "me@here", passphrase=False)


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "b.tar.gz"
    path.write_bytes(b"content")
    return path


def verify(bundle, trusted, namespace=NAMESPACE):
    command = ["ssh-keygen", "-Y", "verify", "-f", trusted, "-I", "me@here", "-n", namespace]
    done = subprocess.run(
        [*command, "-s", f"{bundle}.sig"], stdin=bundle.open("rb"), capture_output=True, check=False
    )
    return done.returncode == 0


def test_a_key_is_private_and_its_signer_is_trusted_for_bundles_only(pair):
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    kind, key, comment = pair.public.read_text().split()
    assert (kind, comment) == ("ssh-ed25519", "me@here")
    assert pair.trusted_signers.read_text() == f'me@here namespaces="{NAMESPACE}" ssh-ed25519 {key}\n'
    assert sorted(p.name for p in pair.private.parent.iterdir()) == [
        "mine",
        "mine.pub",
        "mine.trusted_signers",
    ]


@pytest.mark.parametrize("taken", ["mine", "mine.pub", "mine.trusted_signers"])
def test_no_key_is_ever_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(UsageError, match="ever overwritten"):
        make_key(tmp_path / "mine", "me", passphrase=False)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(taken, "precious")]


@pytest.mark.parametrize("name", ["", "a b", "a,b", '"', "*", "-x", "a\nb"])
def test_a_name_that_would_mean_something_in_a_list_of_signers_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="signer"):
        make_key(tmp_path / "mine", name, passphrase=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError):
        make_key(tmp_path / "file" / "mine", "me", passphrase=False)


def test_a_signature_fits_its_file_its_key_and_its_purpose(pair, bundle):
    signature = sign(bundle, pair.private)
    assert signature.path == bundle.with_name("b.tar.gz.sig")
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", pair.public], capture_output=True, text=True, check=True
    )
    assert signature.fingerprint == listed.stdout.split()[1]
    assert verify(bundle, pair.trusted_signers)
    assert not verify(bundle, pair.trusted_signers, "file")
    bundle.write_bytes(b"Content")
    assert not verify(bundle, pair.trusted_signers)


def test_the_same_bundle_has_the_same_signature(pair, bundle):
    first = sign(bundle, pair.private).path.read_bytes()
    assert sign(bundle, pair.private).path.read_bytes() == first


def test_a_key_in_an_agent_signs(pair, bundle, monkeypatch):
    agent = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    values = dict(line.split(";")[0].split("=") for line in agent.splitlines() if "=" in line)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", values["SSH_AUTH_SOCK"])
        subprocess.run(["ssh-add", "-q", pair.private], check=True)
        pair.private.unlink()
        sign(bundle, pair.public)
    finally:
        os.kill(int(values["SSH_AGENT_PID"]), 15)
    assert verify(bundle, pair.trusted_signers)


def test_a_public_key_without_an_agent_cannot_sign(pair, bundle, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    pair.private.unlink()
    with pytest.raises(BisenetEdgeError, match="could not be signed"):
        sign(bundle, pair.public)
    assert not bundle.with_name("b.tar.gz.sig").exists()


def test_a_missing_key_names_the_command_that_makes_one(tmp_path, bundle):
    with pytest.raises(UsageError) as error:
        sign(bundle, tmp_path / "none")
    assert error.value.fix == f"bisenet-edge deploy keygen --out {tmp_path / 'none'}"


def test_other_kinds_of_keys_are_refused(tmp_path, bundle):
    key = tmp_path / "ecdsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", key], check=True)
    with pytest.raises(UsageError, match="Ed25519"):
        sign(bundle, key)
    assert not bundle.with_name("b.tar.gz.sig").exists()


def test_without_openssh_the_remedy_is_named(pair, bundle, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="OpenSSH"):
        sign(bundle, pair.private)
