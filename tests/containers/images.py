"""Images built and run by buildah with chroot isolation, without a container engine and a registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from namespaces import FAKE_CPUINFO, QEMU_CPU, REGISTER_QEMU, in_namespaces

ISOLATION = ("--isolation", "chroot")
_PULLING = ("from", "bud", "commit")
CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(frozen=True)
class Store:
    """Images and containers of one folder, which nothing else knows of.

    Attributes:
        folder: an empty one.
        arch: "amd64" or "arm64" of what is built.
        driver: of the storage; "overlay" is fast, "vfs" works in a user namespace too.
    """

    folder: Path
    arch: str = "amd64"
    driver: str = "overlay"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir()
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "{self.driver}"\nrunroot = "{self.folder}/run"\n'
            f'graphroot = "{self.folder}/graph"\n'
        )
        # Nothing is fetched: a base image that is not here is an error.
        (self.folder / "registries.conf").write_text("unqualified-search-registries = []\n")
        (self.folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def buildah(
        self, *words: str, timeout_s: float = 900, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        # Only some commands know the option.
        policy = ["--signature-policy", str(self.folder / "policy.json")] if words[0] in _PULLING else []
        command = ["buildah", words[0], *policy, *words[1:]]
        if self.arch == "arm64":
            done = in_namespaces(
                f'{REGISTER_QEMU}{FAKE_CPUINFO}exec env QEMU_CPU={QEMU_CPU} "$@"',
                *command,
                environment=self.environment(),
                timeout_s=timeout_s,
            )
        else:
            done = subprocess.run(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=self.environment(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}\n{done.stdout[-5000:]}{done.stderr[-5000:]}")
        return done

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def take_tree(self, name: str, tree: Path) -> str:
        """An image of a Debian tree: the stand-in for a base image of a registry."""
        container = self.buildah("from", "--arch", self.arch, "scratch").stdout.strip()
        self.buildah("copy", "--quiet", container, str(tree), "/")
        self.buildah("config", "--arch", self.arch, "--os", "linux", container)
        self.buildah("commit", "--quiet", "--rm", container, f"localhost/{name}")
        return f"localhost/{name}"

    def build(
        self,
        name: str,
        dockerfile: Path,
        context: Path,
        arguments: Mapping[str, str],
        binds: Sequence[str] = (),
    ) -> Image:
        words = [
            "bud",
            *ISOLATION,
            "--pull-never",
            "--layers=false",
            "--format",
            "docker",
            "--arch",
            self.arch,
        ]
        words += ["--file", str(dockerfile), "--tag", f"localhost/{name}"]
        words += [f"--build-arg={key}={value}" for key, value in arguments.items()]
        # This machine may reach the package index through a proxy with a certificate of its own.
        words += [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro", *(f"--volume={bind}" for bind in binds)]
        self.buildah(*words, str(context))
        return Image(self, f"localhost/{name}")

    def remove(self) -> None:
        """Unmount everything and delete the folder."""
        self.buildah("rm", "--all", check=False)
        self.buildah("rmi", "--all", "--force", check=False)
        # The overlay driver keeps its own folder mounted.
        graph = self.folder / "graph" / "overlay"
        if graph.is_mount():
            subprocess.run(["umount", str(graph)], check=False)
        shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Image:
    store: Store
    name: str

    def config(self) -> dict[str, Any]:
        """What `docker inspect` would tell under Config."""
        told = json.loads(self.store.buildah("inspect", "--type", "image", self.name).stdout)
        config: dict[str, Any] = told["Docker"]["config"]
        return config

    def start(self) -> Container:
        container = self.store.buildah("from", "--pull-never", "--arch", self.store.arch, self.name)
        return Container(self.store, container.stdout.strip(), self.config())


@dataclass(frozen=True)
class Container:
    """A container whose commands run as the image says: its user, environment and working folder."""

    store: Store
    name: str
    config: Mapping[str, Any]

    def words(
        self, command: Sequence[str], environment: Mapping[str, str], binds: Sequence[str]
    ) -> list[str]:
        words = ["run", *ISOLATION, "--user", self.config["User"], *(f"--volume={bind}" for bind in binds)]
        words += [f"--env={key}={value}" for key, value in environment.items()]
        return [*words, self.name, "--", *command]

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, binds: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; it may fail."""
        return self.store.buildah(*self.words(command, environment or {}, binds), check=False)

    def popen(self, *command: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a command that goes on."""
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "buildah", *self.words(command, environment, ())],
            env=self.store.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def program(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the image's entry point, as `docker run IMAGE WORDS` does."""
        return self.run(*self.config["Entrypoint"], *words, **options)
