"""One connection to a device: the user's own `ssh`, kept open while the device is worked on.

Their configuration, agent, keys and known_hosts count; host keys are checked as they have it, and without a
terminal an unknown one is refused. One ssh of ours stays connected, and every command goes through it
(ControlMaster, in a private folder), so that a deployment logs in once.
"""

from __future__ import annotations

import contextlib
import getpass
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from bisenet_edge.delivery.failures import ConnectionLostError, RemoteCommandError, last_line, ssh_failure
from bisenet_edge.errors import MissingDependencyError
from bisenet_edge.resources import data_folder

SSH_FAILED = 255
"""ssh's own exit status for "no connection"; none of our scripts ends with it."""
_LOGIN_LIMIT_S = 120.0
_POLL_S = 0.02


@dataclass(frozen=True)
class SshOptions:
    """How ssh is called.

    Attributes:
        config: a configuration file in place of the user's and the system's; None = theirs.
        interactive: ssh may ask on the terminal (a passphrase, an unknown host key).
        connect_timeout_s: for the TCP connection and the handshake.
        alive_interval_s: a connection on which nothing has come for three of these is dead.
    """

    config: Path | None = None
    interactive: bool = False
    connect_timeout_s: int = 15
    alive_interval_s: int = 5

    def words(self) -> list[str]:
        """The options, without those of the control socket."""
        settings = {
            "BatchMode": "no" if self.interactive else "yes",
            "ConnectTimeout": str(self.connect_timeout_s),
            "ServerAliveInterval": str(self.alive_interval_s),
            "ServerAliveCountMax": "3",
            # What the user's configuration may add for a session at a desk, and would disturb here.
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
        }
        words = ["-F", str(self.config)] if self.config else []
        for key, value in settings.items():
            words += ["-o", f"{key}={value}"]
        return words


def remote_script(name: str) -> str:
    """Text of `deploy/remote/NAME.sh`."""
    return (data_folder("deploy") / "remote" / f"{name}.sh").read_text(encoding="utf-8")


class Connection:
    """An open connection; a context manager.

    Attributes:
        host: as given to ssh.
        as_root: commands run under `sudo -n`.
    """

    def __init__(self, host: str, options: SshOptions) -> None:
        self.host = host
        self.as_root = False
        self._options = options
        self._folder = Path()
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Connection:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Log in.

        Raises:
            MissingDependencyError: there is no ssh.
            ConnectionLostError: the device cannot be reached.
            DeliveryError: its host key is unknown or has changed, or it lets nobody in.
        """
        if shutil.which("ssh") is None:
            raise MissingDependencyError(
                "there is no ssh here", got="ssh", fix="sudo apt-get install -y openssh-client"
            )
        # Not below TMPDIR: the path of a Unix socket has 107 characters at most.
        self._folder = Path(tempfile.mkdtemp(prefix="bisenet-edge-", dir="/tmp"))
        try:
            self._login()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Log out."""
        if self._master is not None:
            assert self._master.stdin is not None
            self._master.stdin.close()
            self._master.terminate()
            self._master.wait()
            self._master = None
        if self._folder.name:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = Path()

    def run(self, script: str, *arguments: object) -> str:
        """Run `deploy/remote/SCRIPT.sh` and give what it printed.

        Raises:
            RemoteCommandError: it ended with another exit status than 0.
            ConnectionLostError: the connection broke.
        """
        return b"".join(self._converse(self._shell(arguments), [remote_script(script).encode()])).decode(
            "utf-8", "replace"
        )

    def lines(self, script: str, *arguments: object) -> Iterator[str]:
        """Likewise, each line as it comes, without its end."""
        for line in self._converse(self._shell(arguments), [remote_script(script).encode()]):
            yield line.decode("utf-8", "replace").rstrip("\r\n")

    def send(self, script: str, chunks: Iterable[bytes], *arguments: object) -> str:
        """Run `deploy/remote/SCRIPT.sh` with data as its standard input, and give what it printed.

        Raises:
            RemoteCommandError, ConnectionLostError: see `run`.
        """
        command = self._command(["sh", "-c", remote_script(script), f"bisenet-edge-{script}", *arguments])
        return b"".join(self._converse(command, chunks)).decode("utf-8", "replace")

    def _shell(self, arguments: Iterable[object]) -> list[str]:
        return self._command(["sh", "-s", "--", *arguments])

    def _command(self, words: Iterable[object]) -> list[str]:
        # The device's login shell reads this line: each word is quoted for it.
        remote = shlex.join([*(["sudo", "-n"] if self.as_root else []), *map(str, words)])
        # Without a master ssh would connect by itself, and a cut would go unnoticed; so it must not.
        through_master = self._ssh("-o", "ControlMaster=no", "-o", "ProxyCommand=false")
        return [*through_master, "--", self.host, remote]

    def _ssh(self, *more: str) -> list[str]:
        return ["ssh", "-T", *self._options.words(), "-o", f"ControlPath={self._folder / 'control'}", *more]

    def _login(self) -> None:
        log = self._folder / "log"
        command = self._ssh("-o", "ControlMaster=yes", "-o", "ControlPersist=no")
        with log.open("wb") as stderr:
            # It lasts as long as our end of this pipe: even if we are killed, no ssh is left behind.
            self._master = subprocess.Popen(
                [*command, "--", self.host, "cat >/dev/null"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        limit_s = float("inf") if self._options.interactive else time.monotonic() + _LOGIN_LIMIT_S
        while not (self._folder / "control").exists():
            over = time.monotonic() > limit_s
            if over or self._master.poll() is not None:
                said = log.read_text("utf-8", "replace")
                raise ssh_failure(self.host, "Connection timed out" if over else said, self._config_words())
            time.sleep(_POLL_S)

    def _converse(self, command: list[str], chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Start a command, write to it, give the lines of its standard output, judge its end."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                _write(process.stdin, chunks)
                yield from process.stdout
                status = process.wait()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
                process.stdout.close()
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace")
        if status == SSH_FAILED or status < 0:
            raise ConnectionLostError(
                f"the connection to {self.host} was lost", got=last_line(said) or f"ssh ended with {status}"
            )
        if status:
            raise RemoteCommandError(
                f"a command failed on {self.host}", status=status, got=last_line(said) or f"status {status}"
            )

    def _config_words(self) -> str:
        return f"-F {shlex.quote(str(self._options.config))}" if self._options.config else ""


Connect = Callable[[str], Connection]


def who_we_are() -> str:
    """The user and machine that a device names to others while it is being worked on."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}"


def _write(stream: IO[bytes], chunks: Iterable[bytes]) -> None:
    # Where the other end is gone, its exit status and its words say why.
    with contextlib.suppress(BrokenPipeError):
        for chunk in chunks:
            stream.write(chunk)
        stream.close()
