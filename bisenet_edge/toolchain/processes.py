"""Several processes that train one network: which of them this is, sums over all, failing together.

The environment of `torchrun` (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) says who is there.
Without it there is one process, and everything here does nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, overload

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from bisenet_edge.errors import BisenetEdgeError, MissingDependencyError, UsageError

VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT = timedelta(minutes=30)  # of one exchange: a process may be reading data while the others wait
EXIT_LOST = 75  # of a process whose partner is gone; it has nothing to tell (EX_TEMPFAIL of sysexits.h)
# The launcher ends all processes as soon as one is gone; the one that tells an error needs its time.
TELLING_S = 1.0
TOLD = "errors told"

T = TypeVar("T")


class ToldElsewhereError(Exception):
    """Of a process that ends while another one, or the launcher, says why.

    Attributes:
        exit_code: to end with.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Worker:
    """One of the processes that train one network.

    Attributes:
        device: where it computes.
        rank: its number among all, from 0. Number 0 writes files and tells the user.
        size: how many there are, on all machines.
        local_size: how many there are on this machine.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    local_size: int = 1
    _parent: int = field(default_factory=os.getppid, repr=False)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Threads that may make its batches: its share of this machine's cores, 8 at most."""
        return max(1, min(8, len(os.sched_getaffinity(0)) // self.local_size))

    def check(self) -> None:
        """Stop where nobody could stop this process any more.

        Raises:
            BisenetEdgeError: the launcher was killed.
        """
        if self.size > 1 and os.getppid() != self._parent:
            raise BisenetEdgeError(
                "the launcher of this training run is gone",
                got=f"process {self.rank} of {self.size} without a parent",
                fix="give the same command again: the run goes on after its last whole epoch",
            )


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of every process's `value`, bit for bit the same in each; without gradient."""
    if not dist.is_initialized():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def largest_of(value: float) -> float:
    """The largest of every process's `value`."""
    if not dist.is_initialized():
        return value
    largest = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.item()


def together(work: Callable[[], T]) -> T:
    """Do `work` in every process; where it fails in one, all raise that error."""
    if not dist.is_initialized():
        return work()
    error: BisenetEdgeError | None = None
    try:
        result = work()
    except BisenetEdgeError as raised:
        error = raised
    errors: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(errors, error)
    for one in errors:
        if one is not None:
            raise one
    return result


def from_first(work: Callable[[], T]) -> T:
    """Do `work` in process 0 alone and give its result, or raise its error, in all.

    Machines need not share a disk: only the first one's files are read.
    """
    if not dist.is_initialized():
        return work()
    outcome: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            outcome[0] = work()
        except BisenetEdgeError as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


class EveryNth(Sequence[T]):
    """A process's part of a sequence: item `rank` and every `size`-th one after it, read when asked for."""

    def __init__(self, items: Sequence[T], worker: Worker) -> None:
        self._items, self._indices = items, range(worker.rank, len(items), worker.size)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._items[i] for i in self._indices[index]]
        return self._items[self._indices[index]]


@contextmanager
def joined(device: str) -> Iterator[Worker]:
    """Join the other processes, if the environment names any, for as long as the block lasts.

    Errors are told once: of the processes that fail, the first raises its error, the others
    `ToldElsewhereError`. When a process is lost without a word, that is the launcher's to tell.

    Args:
        device: "auto" (CUDA when present), "cpu", "cuda" or "cuda:N"; of several processes on one
            machine each takes the GPU of its number there.

    Raises:
        UsageError: an unknown device, or an environment that torchrun would not make.
        MissingDependencyError: no CUDA device, or not one for each process.
        ToldElsewhereError: another process tells why.
        BisenetEdgeError: another process is gone, and there is no launcher that says so.
    """
    rank, size = _place()
    if size == 1:
        yield Worker(device_of(device))
        return
    store = _meet()
    try:
        local_rank = int(os.environ["LOCAL_RANK"])
        chosen = device_of(device, local_rank)
        # Objects and counts go over gloo also where gradients go over NCCL.
        backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        group = dist.PrefixStore("group", store)
        dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=TIMEOUT)
        yield Worker(chosen, rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        dist.destroy_process_group()
    except BisenetEdgeError as error:
        if not _tells(store, rank):
            time.sleep(TELLING_S)
            raise ToldElsewhereError(error.exit_code) from error
        raise
    except KeyboardInterrupt:
        if rank:
            raise ToldElsewhereError(130) from None
        raise
    except RuntimeError as error:
        if not _is_of_a_lost_partner(error):
            raise
        if "TORCHELASTIC_RUN_ID" in os.environ or not _tells(store, rank):
            time.sleep(TELLING_S)
            raise ToldElsewhereError(EXIT_LOST) from error
        raise BisenetEdgeError(
            "another process of this training run is gone",
            got=str(error).splitlines()[0],
            fix="see its own output; the same command goes on after the last whole epoch",
        ) from error


def device_of(name: str, local_rank: int | None = None) -> torch.device:
    """A torch device by name: "auto" (CUDA when present), "cpu", "cuda" or "cuda:N".

    Args:
        local_rank: number of this process on its machine, where there are several.

    Raises:
        MissingDependencyError: no CUDA device.
        UsageError: no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise MissingDependencyError(
            "no CUDA device", got=name, expected="cpu, or a machine with an NVIDIA GPU", fix="--device cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError("no such device", got=repr(name), expected="auto, cpu, cuda or cuda:N") from error
    if local_rank is None or device.type == "cpu":
        return device
    if ":" in name:
        raise UsageError(
            "one GPU cannot be named for several processes",
            got=name,
            expected="cuda: each process takes the GPU of its number",
            fix="--device cuda",
        )
    if local_rank >= torch.cuda.device_count():
        raise MissingDependencyError(
            "fewer GPUs than processes on this machine",
            got=f"{torch.cuda.device_count()} GPUs, process number {local_rank}",
            fix=f"--nproc {torch.cuda.device_count()}",
        )
    return torch.device("cuda", local_rank)


def _place() -> tuple[int, int]:
    """Rank and number of processes, as the environment says."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return 0, 1
    absent = [name for name in VARIABLES if name not in os.environ]
    numbers = [size, os.environ.get("RANK", "0"), os.environ.get("LOCAL_RANK", "0")]
    if absent or not all(number.isdecimal() for number in numbers) or int(numbers[1]) >= int(size):
        raise UsageError(
            "the environment names several processes, but not as torchrun does",
            got=f"WORLD_SIZE={size}" + (f", no {', '.join(absent)}" if absent else f", RANK={numbers[1]}"),
            expected="RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
            fix="bisenet-edge train --nproc N ..., or torchrun -m bisenet_edge train ...",
        )
    return int(numbers[1]), int(size)


def _meet() -> dist.Store:
    """The store that all processes share."""
    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=TIMEOUT)))
    except (RuntimeError, ValueError) as error:
        raise BisenetEdgeError(
            "the processes of this training run did not find each other",
            got=f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {str(error).splitlines()[0]}",
            expected="an address that all machines reach",
            fix="--rdzv-endpoint HOST:PORT of the first machine, the port open",
        ) from error
    return dist.PrefixStore("bisenet-edge", store)


def _tells(store: dist.Store, rank: int) -> bool:
    """Whether this process is the first that has an error to tell."""
    try:
        return int(store.add(TOLD, 1)) == 1
    except RuntimeError:  # the store went with the process or launcher that kept it
        return rank == 0


def _is_of_a_lost_partner(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
