"""Start the processes of a distributed training run on this machine, through PyTorch's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bisenet_edge.errors import BisenetEdgeError, UsageError
from bisenet_edge.toolchain.processes import EXIT_LOST, ToldElsewhereError

JOIN_TIMEOUT_S = 900


@dataclass(frozen=True)
class Launch:
    """What `torchrun` would be told; its rendezvous options are passed through.

    Attributes:
        processes: on this machine.
        machines: how many take part; each gives the same command.
        backend, endpoint, run_id: of the rendezvous: "c10d" or "static", HOST:PORT of the first machine,
            and a name that all machines give.
        machine_rank: number of this machine, from 0, for the backend "static".
    """

    processes: int = 1
    machines: int = 1
    backend: str = "c10d"
    endpoint: str = ""
    run_id: str = ""
    machine_rank: int = 0

    def __post_init__(self) -> None:
        if self.machines > 1 and not self.endpoint:
            raise UsageError(
                "several machines need a place to meet",
                got=f"--nnodes {self.machines} without --rdzv-endpoint",
                expected="the same HOST:PORT on each, the first machine's",
                fix="--rdzv-endpoint HOST:29400",
            )


def launch(words: Sequence[str], how: Launch) -> None:
    """Run `python -m bisenet_edge WORDS` in every process, until all are done.

    What goes wrong in a process is told by one of them, on stderr.

    Raises:
        ToldElsewhereError: a process failed and told why, or this one got a signal and ended all.
        BisenetEdgeError: a process was killed, or the machines did not meet.
    """
    _silence()
    # Without it every process would take all cores for each of its operations.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // how.processes)))
    config = LaunchConfig(
        min_nodes=how.machines,
        max_nodes=how.machines,
        nproc_per_node=how.processes,
        run_id=how.run_id or (uuid.uuid4().hex if how.machines == 1 else "bisenet-edge"),
        rdzv_backend=how.backend,
        rdzv_endpoint=how.endpoint or "localhost:0",
        rdzv_configs={"rank": how.machine_rank, "timeout": JOIN_TIMEOUT_S},
        max_restarts=0,
        monitor_interval=0.5,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "bisenet_edge", *words)
    except SignalException as error:
        # After Ctrl-C the first process says that it was interrupted.
        raise ToldElsewhereError(128 + int(error.sigval)) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = int(failure.exitcode)
        if code > 0 and code != EXIT_LOST:
            raise ToldElsewhereError(code) from error
        raise BisenetEdgeError(
            "a process of this training run is gone",
            got=_death(code, rank),
            expected="all processes to run to the end",
            fix="give the same command again: the run goes on after its last whole epoch",
        ) from error


def _silence() -> None:
    """Ours is the one message: neither PyTorch's launcher nor its C++ tells of every lost connection."""
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _death(code: int, rank: int) -> str:
    if code >= 0:
        return f"process {rank} lost its partner"
    name = signal.Signals(-code).name
    memory = ": out of memory?" if name == "SIGKILL" else ""
    return f"process {rank} was killed by {name}{memory}"
