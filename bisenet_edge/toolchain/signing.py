"""Signatures of bundles, made by OpenSSH: `ssh-keygen -Y sign`, Ed25519, namespace "bisenet-edge".

Why no Python package: a device checks the signature before anything of ours runs there, with what it has,
and every Jetson has ssh-keygen 8.2 or newer and no package for Ed25519. Keys in an agent or on a hardware
token work as they do for ssh. Format: PROTOCOL.sshsig of OpenSSH.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bisenet_edge.errors import BisenetEdgeError, MissingDependencyError, SinkError, UsageError
from bisenet_edge.resources import replace_when_written

NAMESPACE = "bisenet-edge"
"""A signature that was made for a file, a commit or a login with the same key counts for nothing here."""
_KEY_TYPES = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com")
_ARMOUR = re.compile(rb"-----BEGIN SSH SIGNATURE-----(.*)-----END SSH SIGNATURE-----", re.DOTALL)


@dataclass(frozen=True)
class KeyPair:
    """A key that `make_key` made.

    Attributes:
        private: stays on the workstation.
        public: may be known to anybody.
        trusted_signers: the file for /etc/bisenet-edge/trusted_signers of a device.
    """

    private: Path
    public: Path
    trusted_signers: Path


@dataclass(frozen=True)
class Signature:
    """A detached signature.

    Attributes:
        path: beside the signed file, with ".sig" behind its name.
        fingerprint: of the key, as `ssh-keygen -l` prints it.
    """

    path: Path
    fingerprint: str


def make_key(path: Path, signer: str, *, passphrase: bool = True) -> KeyPair:
    """Make an Ed25519 key pair, and the line by which a device trusts it.

    Args:
        path: of the private key; nothing is ever overwritten.
        signer: who signs with it, as devices will name it.
        passphrase: let ssh-keygen ask for one on the terminal.

    Raises:
        UsageError: something is there already, or a name that cannot stand in a list of signers.
        MissingDependencyError: no ssh-keygen.
        BisenetEdgeError: ssh-keygen failed, or was not told a passphrase.
        SinkError: the folder cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]*", signer):
        raise UsageError(
            "a signer cannot have this name",
            got=repr(signer),
            expected="letters, digits and . _ @ + -",
            fix="--signer release@example.org",
        )
    pair = KeyPair(path, path.with_name(f"{path.name}.pub"), path.with_name(f"{path.name}.trusted_signers"))
    for file in (pair.private, pair.public, pair.trusted_signers):
        if os.path.lexists(file):
            raise UsageError(
                "there is a key already, and no key is ever overwritten", got=str(file), fix="--out KEY"
            )
    program = _ssh_keygen()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".key-", dir=path.parent)  # mode 700
    except OSError as error:
        raise SinkError("cannot write here", got=f"{path}: {error.strerror}") from error
    try:
        made = Path(folder) / "key"
        command = [program, "-q", "-t", "ed25519", "-C", signer, "-f", str(made)]
        done = subprocess.run(command if passphrase else [*command, "-N", ""], check=False)
        if done.returncode:
            raise BisenetEdgeError("ssh-keygen made no key", got=f"exit code {done.returncode}")
        public = made.with_name("key.pub").read_text(encoding="ascii")
        trusted = made.with_name("trusted_signers")
        kind, key = public.split()[:2]
        trusted.write_text(f'{signer} namespaces="{NAMESPACE}" {kind} {key}\n', encoding="ascii")
        made.with_name("key.pub").replace(pair.public)
        trusted.replace(pair.trusted_signers)
        made.replace(pair.private)
    finally:
        shutil.rmtree(folder)
    return pair


def check_key(key: Path) -> None:
    """Find out before any work that there is a key to sign with.

    Raises:
        UsageError: no such file.
    """
    if not key.is_file():
        raise UsageError("there is no such key", got=str(key), fix=f"bisenet-edge deploy keygen --out {key}")


def sign(file: Path, key: Path) -> Signature:
    """Sign a file, beside it.

    Args:
        file: the bundle.
        key: private key, or the public half of one that an agent or a token holds.

    Raises:
        UsageError: no such key, or it is no Ed25519 key.
        MissingDependencyError: no ssh-keygen.
        BisenetEdgeError: it cannot sign: a wrong passphrase, an agent that lacks the key.
        SinkError: the signature cannot be written.
    """
    check_key(key)
    program = _ssh_keygen()
    # From standard input to standard output: with a file's name it asks before it overwrites a signature.
    # Its words on stderr reach the user: it may ask for a passphrase, or to touch a token.
    with file.open("rb") as content:
        done = subprocess.run(
            [program, "-Y", "sign", "-n", NAMESPACE, "-f", str(key)],
            stdin=content,
            stdout=subprocess.PIPE,
            check=False,
        )
    if done.returncode:
        raise BisenetEdgeError(
            "the bundle could not be signed",
            got=f"{key}: ssh-keygen's exit code {done.returncode}",
            expected="the passphrase, or an agent that holds the key",
            fix=f"ssh-add {key}" if key.suffix != ".pub" else f"ssh-add {key.with_suffix('')}",
        )
    blob = _public_key(done.stdout)
    kind = _field(blob)[0].decode("ascii", "replace")
    if kind not in _KEY_TYPES:
        raise UsageError(
            "bundles are signed with Ed25519 keys", got=f"{key}: {kind}", fix="bisenet-edge deploy keygen"
        )
    path = file.with_name(f"{file.name}.sig")
    with replace_when_written(path) as temporary:
        temporary.write_bytes(done.stdout)
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return Signature(path, f"SHA256:{digest}")


def _public_key(signature: bytes) -> bytes:
    """The public key in an SSHSIG: "SSHSIG", version (4 bytes), then strings with a length before each."""
    armour = _ARMOUR.search(signature)
    blob = base64.b64decode(armour[1]) if armour else b""
    if not blob.startswith(b"SSHSIG"):
        raise BisenetEdgeError("ssh-keygen gave no signature", got=repr(signature[:60]))
    return _field(blob[10:])[0]


def _field(blob: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length], blob[4 + length :]


def _ssh_keygen() -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise MissingDependencyError(
            "signing needs OpenSSH 8.2 or newer",
            got="no ssh-keygen",
            fix="sudo apt-get install -y openssh-client",
        )
    return program
