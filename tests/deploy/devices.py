"""A device in a folder: prefix, configuration and unit folder below it.

`systemctl`, `useradd`, `chgrp`, `chown`, `setpriv` and `getent` are fakes that come first on PATH: they would
change the machine. Shell, tar, gzip, ssh-keygen and, unless a test says `quick`, the device program are the
real ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bisenet_edge.resources import data_folder

# A service that gives masks, but for releases that a test names in `broken`. It writes down what it is told.
SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
release=$(basename "$(readlink "$PREFIX/current")")
case $1 in
    restart)
        echo "$release" >"$here/running"
        ! grep -qxF "$release" "$here/unstartable" || exit 1
        ;;
    disable) rm -f "$here/running" ;;
    is-enabled) if [ -e "$here/disabled" ]; then echo disabled; exit 1; else echo enabled; fi ;;
    show)
        # A power cut while the installation waits for a mask.
        ! rm "$here/cut_at_health" 2>/dev/null || kill -9 0
        running=$(cat "$here/running" 2>/dev/null) || { echo; exit; }
        case $3 in
            ActiveState) if grep -qxF "$running" "$here/failed"; then echo failed; else echo active; fi ;;
            StatusText)
                if grep -qxF "$running" "$here/silent"; then
                    echo 'waiting for the first mask'
                else
                    echo '29.9 FPS, frame age p50 12.0 ms, 0 of 90 frames dropped'
                fi
                ;;
        esac
        ;;
esac
"""
FAKES = {
    "systemctl": SYSTEMCTL,
    "useradd": '#!/bin/sh\necho "useradd $*" >>"$(dirname "$0")/calls"\n',
    "chgrp": '#!/bin/sh\necho "chgrp $*" >>"$(dirname "$0")/calls"\n',
    "chown": '#!/bin/sh\necho "chown $*" >>"$(dirname "$0")/calls"\n',
    # It says for whom, and runs the command as it is.
    "setpriv": """#!/bin/sh
echo "setpriv $*" >>"$(dirname "$0")/calls"
while [ "$1" != "$PYTHON" ]; do shift; done
exec "$@"
""",
    "python_fake": "#!/bin/sh\ncase $* in *'import tensorrt'*) exit 1 ;; esac\n",
    "getent": '#!/bin/sh\n[ -e "$(dirname "$0")/has_$2" ]\n',
}


VERIFY = data_folder("deploy") / "verify-and-install.sh"


@dataclass
class Done:
    """How a script ended.

    Attributes:
        code: exit status.
        out: stdout.
        err: stderr.
    """

    code: int
    out: str
    err: str

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(name, "ok" or "failed") of each step line, in order."""
        return [tuple(line.split()[1:3]) for line in self.out.splitlines() if line.startswith("step ")]


@dataclass
class Device:
    """Folders and commands of one device."""

    root: Path
    quick: bool = False  # the interpreter is a fake: every check and every gate passes at once

    def __post_init__(self) -> None:
        for folder in (self.prefix, self.etc, self.units, self.fakes):
            folder.mkdir(parents=True)
        for name, text in FAKES.items():
            self.fake(name, text)
        for name in ("unstartable", "failed", "silent", "calls"):
            (self.fakes / name).write_text("")

    @property
    def prefix(self) -> Path:
        return self.root / "opt"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def units(self) -> Path:
        return self.root / "units"

    @property
    def fakes(self) -> Path:
        return self.root / "fakes"

    @property
    def calls(self) -> list[str]:
        """What the fakes were told."""
        return (self.fakes / "calls").read_text().splitlines()

    @property
    def settings(self) -> Path:
        return self.etc / "bisenet-edge.env"

    def fake(self, name: str, text: str) -> Path:
        path = self.fakes / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(
        self,
        script: Path,
        *words: object,
        service: bool = True,
        cwd: Path | None = None,
        **environment: str,
    ) -> Done:
        """Run a script as the device's shell does; `service=False` adds --no-service."""
        options = ["--prefix", self.prefix, "--etc", self.etc]
        if service:
            options += ["--units", self.units, "--health-timeout-s", "2"]
        else:
            options += ["--no-service"]
        done = subprocess.run(
            ["sh", *map(str, (script, *words, *options))],
            env={
                **os.environ,
                "PATH": f"{self.fakes}:{os.environ['PATH']}",
                "PYTHON": str(self.fakes / "python_fake") if self.quick else sys.executable,
                "PREFIX": str(self.prefix),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            # A fake that kills its process group must not reach the tests.
            start_new_session=True,
            cwd=cwd,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def status(self) -> dict[str, object]:
        done = self.run(self.prefix / "current" / "install.sh", "--status")
        assert done.code == 0, done.err
        return json.loads(done.out)

    @property
    def links(self) -> dict[str, str]:
        """ "current" and "previous" -> release."""
        found = {n: self.prefix / n for n in ("current", "previous")}
        return {n: Path(os.readlink(p)).name for n, p in found.items() if p.is_symlink()}

    @property
    def releases(self) -> list[str]:
        """Everything in the folder of releases, hidden names too."""
        folder = self.prefix / "releases"
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def refused(device: Device, bundle: Path, says: str, *words: object, step: str = "verify") -> None:
    """The one script, one clear refusal, and nothing left behind."""
    before = device.links
    done = device.run(VERIFY, bundle, *words, service=False)
    assert (done.code, done.steps[-1]) == (1, (step, "failed")), done.out + done.err
    assert says in done.out.splitlines()[-1]
    assert done.err.startswith("error: ")
    assert device.links == before
    assert set(device.releases) <= set(before.values())
