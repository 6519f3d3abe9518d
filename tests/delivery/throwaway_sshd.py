"""A real sshd on loopback with throwaway keys, the user's side of it, and a cable that can be cut."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

FAKES = Path(__file__).parent / "fakes"
PATIENCE_S = 60


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


class Sshd:
    """One sshd; `known_hosts` and `config` are the user's side of it.

    Devices are told apart by their names in the configuration; each may have a port of its own (a proxy).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self.sysroot = folder / "sysroot"
        for key in ("host", "id"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(keygen, check=True)
        (folder / "authorized_keys").write_text((folder / "id.pub").read_text())
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            "KexAlgorithms curve25519-sha256\nMaxStartups 100\nMaxSessions 100\n"
            f"SetEnv PATH={folder}/bin:/usr/local/bin:/usr/bin:/bin BISENET_EDGE_SYSROOT={self.sysroot} "
            f"HOME={folder}/home FAKE_STATE={folder}/state\n"
        )
        (folder / "home").mkdir()  # empty: nobody's .bashrc
        self.renew()
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (folder / "sshd.log").open("wb") as log:
            command = [
                shutil.which("sshd", path="/usr/sbin:/usr/bin"),
                "-D",
                "-e",
                "-f",
                folder / "sshd_config",
            ]
            self.process = subprocess.Popen(command, stderr=log)
        wait_until(self._listens, "sshd listens")

    def renew(self) -> None:
        """As on the first day: one device "jet", an Orin Nano, and no stand-ins but systemctl's."""
        for name in ("bin", "state", "sysroot"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        shutil.copy(FAKES / "systemctl", self.folder / "bin" / "systemctl")
        self.board("NVIDIA Jetson Orin Nano Developer Kit", "nvidia,p3768-0000+p3767-0005 nvidia,tegra234")
        self.trust_host()
        self.config.write_text("")
        self.add("jet")

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def trust_host(self) -> None:
        key = (self.folder / "host.pub").read_text()
        self.known_hosts.write_text(f"throwaway-device {key}")

    def add(self, name: str, port: int = 0, *lines: str) -> None:
        """Name another device."""
        words = [
            f"Host {name}",
            " HostName 127.0.0.1",
            f" Port {port or self.port}",
            f" User {getpass.getuser()}",
            f" IdentityFile {self.folder / 'id'}",
            " IdentitiesOnly yes",
            " HostKeyAlias throwaway-device",
            f" UserKnownHostsFile {self.known_hosts}",
            " GlobalKnownHostsFile /dev/null",
            *(f" {line}" for line in lines),
        ]
        with self.config.open("a") as file:
            file.write("\n".join(words) + "\n")

    def fake(self, name: str, text: str) -> None:
        """Put a stand-in for a program on the device's PATH."""
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def board(self, model: str, compatible: str) -> None:
        """Make the device say that it is this board."""
        tree = self.sysroot / "proc" / "device-tree"
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "model").write_bytes(model.encode() + b"\0")
        (tree / "compatible").write_bytes(compatible.replace(" ", "\0").encode() + b"\0")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Proxy:
    """A TCP proxy in front of an sshd that can be cut like a cable.

    Attributes:
        port: to connect to.
        limit_bytes: cuts after so many bytes towards the device; None = no limit. Used up once.
    """

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.limit_bytes: int | None = None
        self._pairs: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.to_port))
            self._pairs += [client, server]
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(4096):
                if counted and self.limit_bytes is not None:
                    self.limit_bytes -= len(data)
                    if self.limit_bytes <= 0:
                        self.limit_bytes = None
                        self.cut()
                        return
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            hang_up(end)

    def cut(self) -> None:
        """Break every connection."""
        pairs, self._pairs = self._pairs, []
        for end in pairs:
            hang_up(end)

    def close(self) -> None:
        self._listener.close()
        self.cut()


def hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
