"""Files to a device over a real sshd."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest
from throwaway_sshd import wait_until

from bisenet_edge.delivery.push import Pushed, already_there, push
from bisenet_edge.delivery.ssh import Connection, SshOptions
from bisenet_edge.errors import DeliveryError


@pytest.fixture
def connection(sshd):
    with Connection("jet", SshOptions(config=sshd.config)) as made:
        yield made


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a file.tar.gz"
    path.write_bytes(os.urandom(700_000))
    return path


def test_a_part_is_gone_on_with_only_if_it_is_the_start_of_the_file(connection, file, tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    part = folder / f"{file.name}.part"
    part.write_bytes(file.read_bytes()[:300_000])
    assert already_there(connection, str(folder), file) == 300_000
    assert push(connection, str(folder), file) == Pushed(700_000, 300_000)
    assert (folder / file.name).read_bytes() == file.read_bytes()
    assert push(connection, str(folder), file) == Pushed(700_000, 700_000)

    for other in (b"x" * 300_000, file.read_bytes() + b"and more"):
        (folder / file.name).unlink()
        part.write_bytes(other)
        assert push(connection, str(folder), file) == Pushed(700_000, 0)
        assert (folder / file.name).read_bytes() == file.read_bytes()

    # All there, but the connection broke before it got its name.
    (folder / file.name).rename(part)
    assert push(connection, str(folder), file) == Pushed(700_000, 700_000)


def test_what_arrives_changed_is_removed(connection, file, tmp_path, sshd):
    sshd.fake("cat", '#!/bin/sh\n/bin/cat "$@" | tr x y\n')
    file.write_bytes(b"x" * 1000)
    with pytest.raises(DeliveryError, match="differs from what was sent"):
        push(connection, str(tmp_path / "incoming"), file)
    assert sorted(p.name for p in (tmp_path / "incoming").iterdir()) == [".push.lock", ".push.pid"]


def test_a_full_disk(connection, file, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs leave to mount a small disk: run as root, in a container with CAP_SYS_ADMIN")
    try:
        with pytest.raises(DeliveryError, match="the disk of jet is full") as caught:
            push(connection, str(disk / "incoming"), file)
        assert "deploy prune" in caught.value.fix
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def receiver(folder):
    """A push that has got stuck: it holds the lock and takes nothing more."""
    folder.mkdir()
    script = "cd $1; exec 9>>.push.lock; flock 9; echo $$ >.push.pid; touch ready; exec sleep 600"
    process = subprocess.Popen(["sh", "-c", script, "sh", str(folder)])
    wait_until((folder / "ready").exists, "it holds the lock")
    return process


def test_a_push_that_died_without_a_word_is_cleared_away(connection, file, tmp_path):
    folder = tmp_path / "incoming"
    process = receiver(folder)
    (folder / f"{file.name}.part").write_bytes(b"")
    assert push(connection, str(folder), file).size_bytes == 700_000
    process.wait()


def test_a_push_that_is_alive_is_left_alone(connection, file, tmp_path):
    folder = tmp_path / "incoming"
    process = receiver(folder)
    over = threading.Event()

    def grow():
        with (folder / "other.part").open("ab", buffering=0) as part:
            while not over.wait(0.05):
                part.write(b"x")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with pytest.raises(DeliveryError, match="somebody else is pushing"):
            push(connection, str(folder), file)
        assert process.poll() is None
    finally:
        over.set()
        thread.join()
        process.kill()
        process.wait()
