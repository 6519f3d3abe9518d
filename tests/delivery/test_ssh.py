"""Connections that cannot be made, over a real sshd: one clear error each, with a command that helps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from throwaway_sshd import free_port, wait_until

from bisenet_edge.delivery.device import Place, look
from bisenet_edge.delivery.failures import ConnectionLostError, RemoteCommandError
from bisenet_edge.delivery.ssh import Connection, SshOptions
from bisenet_edge.errors import DeliveryError, MissingDependencyError


def connect(sshd, host="jet"):
    return Connection(host, SshOptions(config=sshd.config))


def test_an_unknown_host_is_refused(sshd):
    sshd.known_hosts.write_text("")
    with pytest.raises(DeliveryError, match="not known here yet") as caught:
        connect(sshd).open()
    assert caught.value.fix.startswith(f"ssh -F {sshd.config} jet true")
    assert sshd.known_hosts.read_text() == "", "its key was not taken on trust"


def test_a_changed_host_key_is_refused(sshd, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    sshd.known_hosts.write_text("throwaway-device " + (tmp_path / "other.pub").read_text())
    with pytest.raises(DeliveryError, match="another host key than before") as caught:
        connect(sshd).open()
    assert "ssh-keygen -f" in caught.value.fix
    assert "throwaway-device" in caught.value.fix
    assert not isinstance(caught.value, ConnectionLostError), "trying again does not help"


def test_a_key_that_the_device_does_not_know(sshd, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "mine"], check=True)
    sshd.add("locked", 0, f"IdentityFile {tmp_path / 'mine'}")
    config = sshd.config.read_text().replace(f" IdentityFile {sshd.folder / 'id'}\n", "")
    sshd.config.write_text(config)
    with pytest.raises(DeliveryError, match="does not let you in") as caught:
        connect(sshd, "locked").open()
    assert caught.value.fix == f"ssh-copy-id -F {sshd.config} locked"


def test_nobody_listens(sshd):
    sshd.add("off", free_port())
    with pytest.raises(ConnectionLostError, match="cannot be reached") as caught:
        connect(sshd, "off").open()
    assert "Connection refused" in caught.value.got


def test_no_such_name(sshd):
    with pytest.raises(DeliveryError, match="nobody knows where nowhere"):
        connect(sshd, "nowhere.invalid").open()


def test_a_configuration_that_ssh_does_not_take(sshd):
    sshd.config.write_text("Nonsense yes\n")
    with pytest.raises(DeliveryError, match="configuration cannot be read"):
        connect(sshd).open()


def test_no_ssh(sshd, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingDependencyError) as caught:
        connect(sshd).open()
    assert "openssh-client" in caught.value.fix


def test_words_arrive_as_they_are(sshd, tmp_path):
    """Nothing that is passed to a device is ever read by a shell on the way."""
    nasty = ["a b", "$(touch pwned)", "'; touch pwned; '", '"', "`id`", "*", "-n", "", "é\t"]
    with connect(sshd) as connection:
        command = connection._command(["printf", "<%s>\\n", *nasty])
        assert b"".join(connection._converse(command, [])).decode() == "".join(f"<{w}>\n" for w in nasty)


def test_a_command_that_fails_is_told_from_a_connection_that_is_lost(sshd, proxy):
    with connect(sshd, "cable") as connection:
        with pytest.raises(RemoteCommandError) as caught:
            connection.run("incoming", "nonsense")
        assert caught.value.status == 2
        proxy.cut()
        with pytest.raises(ConnectionLostError):
            connection.run("probe", "/nowhere", "none")


def test_nothing_is_left_behind(sshd, tmp_path):
    with connect(sshd) as connection:
        made = connection._folder
        assert made.stat().st_mode & 0o77 == 0
        master = connection._master
        assert look(connection, Place(str(tmp_path / "opt"))).board == "orin-nano"
    assert master.poll() is not None
    assert not made.exists()


def test_a_killed_host_leaves_no_ssh_behind(sshd):
    """The connection ends with its owner, however that ends."""
    code = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from bisenet_edge.delivery.ssh import Connection, SshOptions\n"
        "connection = Connection('jet', SshOptions(config=Path(sys.argv[1])))\n"
        "connection.open()\n"
        "print(connection._master.pid, connection._folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sshd.config)], capture_output=True, text=True, check=False
    )
    pid, folder = done.stdout.split()
    wait_until(lambda: not running(int(pid)), "the ssh is gone")
    assert "bisenet-edge-" in folder
    for file in Path(folder).iterdir():
        file.unlink()
    Path(folder).rmdir()


def running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize(
    ("compatible", "model", "board"),
    [
        ("nvidia,p3768-0000+p3767-0000 nvidia,tegra234", "NVIDIA Jetson Orin NX", "orin-nx"),
        ("nvidia,p3737-0000+p3701-0005 nvidia,tegra234", "NVIDIA Jetson AGX Orin", "agx-orin"),
        ("nvidia,p9999-0000 nvidia,tegra999", "NVIDIA Jetson Unheard-of", ""),
        ("raspberrypi,5-model-b brcm,bcm2712", "Raspberry Pi 5", "cpu"),
    ],
)
def test_what_a_device_is(sshd, tmp_path, compatible, model, board):
    sshd.board(model, compatible)
    with connect(sshd) as connection:
        device = look(connection, Place(str(tmp_path / "not" / "there")))
    assert device.board == board
    assert (device.root, device.missing) == ("self" if os.getuid() == 0 else device.root, ())
    assert device.free_mb > 0
    assert device.running == "nothing of ours is installed"
