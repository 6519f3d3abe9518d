"""The parent's side of a contestant's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .turns import Burst, BurstPlan

CLOSE_S = 10.0


class LaneError(Exception):
    """A contestant cannot do what it was asked."""


class ProcessLane:
    """A contestant in a process of its own, which works only while it is asked to.

    Attributes:
        name: of the contestant.
        jobs: what it can be asked; known after `load`.
        prepare_s, load_s: how long these took.
    """

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.jobs: list[str] = []
        self.prepare_s = self.load_s = 0.0
        # A file: a pipe that nobody reads fills up, and the worker would wait for ever.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed by `close`
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask and wait for the answer.

        Raises:
            LaneError: the contestant failed, or its process ended.
        """
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None and pipe_out is not None
        try:
            pipe_in.write(json.dumps(request) + "\n")
            pipe_in.flush()
            line = pipe_out.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise LaneError(f"{self.name}: its process ended with code {code}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LaneError(f"{self.name}: {answer['error']}")
        return answer

    def prepare(self) -> None:
        """Make its files."""
        start_s = time.perf_counter()
        self.ask(do="prepare")
        self.prepare_s = time.perf_counter() - start_s

    def load(self) -> None:
        """Load its network."""
        start_s = time.perf_counter()
        self.jobs = self.ask(do="load")["jobs"]
        self.load_s = time.perf_counter() - start_s

    def burst(self, job: str, plan: BurstPlan) -> Burst:
        """One turn."""
        return Burst(**self.ask(do="burst", job=job, **vars(plan)))

    def peak_rss_mb(self) -> float:
        """Largest resident memory of its process so far (2^20 bytes)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def __enter__(self) -> ProcessLane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def worker_command(name: str, folder: Path, threads: int) -> list[str]:
    """Start of a contestant's process."""
    package = __package__ or "speed"
    return [sys.executable, "-m", f"{package}.worker", name, str(folder), str(threads)]


def worker_environment() -> dict[str, str]:
    """Its environment: our packages can be found; libraries' defaults as a user has them.

    `make` sets OMP_WAIT_POLICY, which slows PyTorch down: a contestant is not to suffer from it.
    """
    package = __package__ or "speed"
    root = Path(__file__).resolve().parents[package.count(".") + 1]
    checkout = Path(__file__).resolve().parents[3]
    own = {
        key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    }
    paths = [str(root), str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**own, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "ORT_DISABLE_TELEMETRY": "1"}
