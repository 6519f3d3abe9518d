"""Signatures, age and circumstances: what a device refuses before it unpacks anything, and what it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from devices import VERIFY as SCRIPT
from devices import refused

from bisenet_edge.toolchain.signing import make_key, sign

NAME = "bisenet-edge-cpu-toy-64x32"


@pytest.fixture
def copy(bundle, tmp_path):
    """A bundle with its signature, to be changed."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    for path in (bundle.path, Path(f"{bundle.path}.sig")):
        shutil.copy(path, folder)
    return folder / bundle.path.name


# --- signatures ---------------------------------------------------------------------------------------------


def test_a_signed_bundle_passes(trusting, bundle):
    done = trusting.run(SCRIPT, bundle.path, "--check", service=False)
    assert done.code == 0, done.err
    assert done.out == f"step verify ok {NAME}, serial {bundle.serial}, signed by release@example.org\n"
    assert trusting.releases == []


@pytest.mark.parametrize("position", [10, 5000, -1])
def test_a_tampered_bundle_is_refused(trusting, copy, position):
    content = bytearray(copy.read_bytes())
    content[position] ^= 1
    copy.write_bytes(content)
    refused(trusting, copy, "signature does not fit")


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_truncated_bundle_is_refused(trusting, copy, share):
    content = copy.read_bytes()
    copy.write_bytes(content[: int(len(content) * share)])
    refused(trusting, copy, "signature does not fit")


@pytest.mark.parametrize("words", [[], ["--allow-unsigned"]])
def test_an_unsigned_bundle_is_refused_where_a_key_is_trusted(trusting, copy, words):
    Path(f"{copy}.sig").unlink()
    refused(trusting, copy, "takes signed bundles only", *words)


def test_a_device_that_trusts_nobody_says_so_and_can_be_told_to_take_it(device, copy):
    refused(device, copy, "trusts no key yet")
    done = device.run(SCRIPT, copy, "--check", "--allow-unsigned", service=False)
    assert (done.code, "unsigned" in done.out) == (0, True)


def test_a_truncated_unsigned_bundle_is_refused(device, copy):
    copy.write_bytes(copy.read_bytes()[:-3000])
    refused(device, copy, "damaged or truncated", "--allow-unsigned")


def test_a_foreign_signer_is_refused(trusting, copy, foreign_key):
    sign(copy, foreign_key.private)
    refused(trusting, copy, "no key that this device trusts")


def test_a_revoked_key_is_refused(trusting, copy, key):
    shutil.copy(key.public, trusting.etc / "revoked_signers")
    refused(trusting, copy, "revoked")


@pytest.mark.parametrize("kind", ["dangling", "folder"])
def test_a_list_of_revoked_keys_that_leads_nowhere_is_an_error(trusting, copy, kind):
    revoked = trusting.etc / "revoked_signers"
    if kind == "dangling":
        revoked.symlink_to("gone")
    else:
        revoked.mkdir()
    refused(trusting, copy, "revoked_signers leads nowhere")


@pytest.mark.skipif(os.getuid() != 0, reason="not root: what only root may write is checked for root")
def test_a_list_of_revoked_keys_that_others_may_write_is_an_error(trusting, copy):
    revoked = trusting.etc / "revoked_signers"
    revoked.write_text("")
    revoked.chmod(0o666)
    refused(trusting, copy, "others than root may write to")


def test_another_key_may_be_revoked(trusting, copy, foreign_key):
    shutil.copy(foreign_key.public, trusting.etc / "revoked_signers")
    assert trusting.run(SCRIPT, copy, "--check", service=False).code == 0


def test_a_signature_for_another_purpose_is_refused(trusting, copy, key):
    Path(f"{copy}.sig").unlink()
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", key.private, copy], check=True)
    refused(trusting, copy, "signature")


def test_a_signature_of_another_bundle_is_refused(trusting, copy, newer):
    shutil.copy(f"{newer.path}.sig", f"{copy}.sig")
    refused(trusting, copy, "signature does not fit")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN SSH SIGNATURE-----\n", b"\0" * 100, b"x" * 100_000])
def test_garbage_is_no_signature(trusting, copy, content):
    Path(f"{copy}.sig").write_bytes(content)
    refused(trusting, copy, "larger than" if len(content) > 65536 else "no key that this device trusts")


def test_an_empty_list_of_signers_trusts_nobody(device, copy):
    (device.etc / "trusted_signers").write_text("")
    refused(device, copy, "no key that this device trusts", "--allow-unsigned")


def test_a_list_of_signers_that_leads_nowhere_is_no_way_in(device, copy):
    (device.etc / "trusted_signers").symlink_to("gone")
    refused(device, copy, "no key that this device trusts", "--allow-unsigned")


def test_two_keys_may_be_trusted(trusting, copy, tmp_path):
    second = make_key(tmp_path / "second", "second@example.org", passphrase=False)
    with (trusting.etc / "trusted_signers").open("a") as file:
        file.write(second.trusted_signers.read_text())
    sign(copy, second.private)
    done = trusting.run(SCRIPT, copy, "--check", service=False)
    assert (done.code, done.out.strip().endswith("signed by second@example.org")) == (0, True)


@pytest.mark.skipif(os.getuid() != 0, reason="not root: what only root may write is checked for root")
@pytest.mark.parametrize("place", ["opt", "opt/releases", "etc", "etc/trusted_signers"])
def test_root_relies_on_nothing_that_others_may_write(trusting, copy, place):
    (trusting.prefix / "releases").mkdir()
    (trusting.root / place).chmod(0o777)
    refused(trusting, copy, "others than root may write")


def test_what_was_sent_may_be_told_by_its_hash(device, copy, bundle):
    words = ("--allow-unsigned", "--check", "--sha256")
    assert device.run(SCRIPT, copy, *words, bundle.sha256, service=False).code == 0
    refused(device, copy, "not what was sent", *words, "0" * 64)


def test_an_exchange_between_check_and_use_changes_nothing(trusting, bundle, copy):
    """A local user exchanges the file while its signature is being checked."""
    evil = copy.with_name("evil")
    evil.write_bytes(b"evil")
    real = shutil.which("ssh-keygen")
    trusting.fake("ssh-keygen", f'#!/bin/sh\n{real} "$@"\nstatus=$?\ncp {evil} {copy}\nexit $status\n')
    done = trusting.run(SCRIPT, copy, service=False)
    assert done.code == 0, done.out + done.err
    assert copy.read_bytes() == b"evil"
    assert trusting.links["current"].startswith(NAME)


# --- age ----------------------------------------------------------------------------------------------------


def serial_installed(device, serial):
    release = device.prefix / "releases" / "old"
    release.mkdir(parents=True)
    (release / "release.json").write_text(
        f'{{\n  "schema_version": 1,\n  "serial": "{serial}",\n  "a": 1\n}}\n'
    )
    (device.prefix / "current").symlink_to("releases/old")


@pytest.mark.parametrize("old", ["0.1.0.1767225601", "0.1.1.5", "0.10.0.0", "1.0.0.0"])
def test_an_older_bundle_is_refused(trusting, bundle, old):
    assert bundle.serial == "0.1.0.1767225600"
    serial_installed(trusting, old)
    refused(trusting, bundle.path, f"older than what is installed: serial {bundle.serial}, installed {old}")
    done = trusting.run(SCRIPT, bundle.path, "--check", "--allow-downgrade", service=False)
    assert done.code == 0, done.err


@pytest.mark.parametrize("old", ["0.1.0.1767225600", "0.1.0.9", "0.0.99.9999999999", "0.0.100.1"])
def test_the_same_and_newer_ones_are_taken(trusting, bundle, old):
    serial_installed(trusting, old)
    assert trusting.run(SCRIPT, bundle.path, "--check", service=False).code == 0


# --- circumstances ------------------------------------------------------------------------------------------


def test_something_behind_the_archive_is_refused(device, copy):
    with copy.open("ab") as file:
        file.write(b"more")
    refused(device, copy, "damaged", "--allow-unsigned")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "nothing"])
def test_what_is_no_plain_file_is_not_read(device, tmp_path, copy, kind):
    path = tmp_path / "x.tar.gz"
    if kind == "link":
        path.symlink_to(copy)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    refused(device, path, "no plain file" if kind == "link" else "no such file", "--allow-unsigned")


def test_a_full_disk_is_told_and_nothing_is_left(device, bundle, tmp_path):
    """On a real file system of 1 MB."""
    inside = f"""
        mount -t tmpfs -o size=1m tmpfs {device.prefix}
        sh {SCRIPT} {bundle.path} --allow-unsigned --no-service --prefix {device.prefix} --etc {device.etc}
        echo "code $?"
        find {device.prefix} -name '*staging*'
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "code" not in done.stdout:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert "step verify failed not enough space" in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "code 1"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9, 0.995])
def test_a_script_that_breaks_off_on_its_way_does_nothing(trusting, bundle, share):
    text = SCRIPT.read_text()
    part = text[: int(len(text) * share)]
    command = [
        "sh",
        "-s",
        "--",
        bundle.path,
        "--prefix",
        trusting.prefix,
        "--etc",
        trusting.etc,
        "--no-service",
    ]
    subprocess.run(command, input=part, capture_output=True, text=True, check=False)
    assert list(trusting.prefix.iterdir()) == []


def test_it_runs_from_standard_input(trusting, bundle):
    command = ["sh", "-s", "--", bundle.path, "--check", "--prefix", trusting.prefix, "--etc", trusting.etc]
    done = subprocess.run(command, input=SCRIPT.read_text(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith("step verify ok")) == (0, True), done.stderr


def test_two_at_a_time_is_one_too_many(trusting, bundle):
    (trusting.prefix / ".lock").write_text("")
    lock, prefix, etc = trusting.prefix / ".lock", trusting.prefix, trusting.etc
    command = f"sh {SCRIPT} {bundle.path} --check --prefix {prefix} --etc {etc}"
    held = f"exec 8>>{lock}; flock 8; {command}"
    done = subprocess.run(["sh", "-c", held], capture_output=True, text=True, check=False)
    assert "step verify failed another installation is running" in done.stdout
    # The lock of whoever called is handed down.
    mine = f"exec 9>>{lock}; flock 9; {command}"
    done = subprocess.run(["sh", "-c", mine], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["$(touch evil).tar.gz", "a;touch evil;.tar.gz", "a b.tar.gz", "a\n.tar.gz"])
def test_a_hostile_name_is_refused_and_never_run(device, bundle, tmp_path, name):
    path = tmp_path / name
    shutil.copy(bundle.path, path)
    done = device.run(SCRIPT, path, "--allow-unsigned", service=False)
    assert (done.code, done.out) == (2, "")
    assert "unusual character" in done.err
    assert not list(Path.cwd().glob("evil*")) + list(tmp_path.glob("evil*"))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a", "b"],
        ["--nonsense"],
        ["a", "--max-mb", "x"],
        ["a", "--prefix", "/tmp/$(id)"],
        ["a", "--max-mb"],
    ],
)
def test_wrong_use_is_exit_code_2(words):
    done = subprocess.run(["sh", SCRIPT, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_what_an_interrupted_one_left_is_removed(trusting, bundle):
    left = trusting.prefix / "releases" / ".staging-old"
    left.mkdir(parents=True)
    assert trusting.run(SCRIPT, bundle.path, "--check", service=False).code == 0
    assert not left.exists()


def test_ssh_keygen_is_named_where_it_is_missing(trusting, bundle, tmp_path):
    """A PATH with all tools but that one."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name != "ssh-keygen":
            (tools / program.name).symlink_to(program)
    assert shutil.which("ssh-keygen", path=str(tools)) is None
    done = subprocess.run(
        ["/bin/sh", SCRIPT, bundle.path, "--check", "--prefix", trusting.prefix, "--etc", trusting.etc],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "step verify failed ssh-keygen is missing" in done.stdout
    assert "sudo apt-get install -y openssh-client" in done.stderr
