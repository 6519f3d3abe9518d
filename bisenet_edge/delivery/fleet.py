"""Many devices: canaries first, one at a time, then the others side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from bisenet_edge.delivery.result import HostResult
from bisenet_edge.delivery.target import Target

OK, ERROR, GATE = 0, 1, 3


@dataclass(frozen=True)
class Rollout:
    """How a fleet is worked through.

    Attributes:
        parallel: devices at a time, after the canaries.
        max_failures: after so many no new device is begun; a canary that fails stops everything.
    """

    parallel: int = 4
    max_failures: int = 1


def roll_out(
    targets: Sequence[Target],
    work: Callable[[Target], HostResult],
    rollout: Rollout = Rollout(),
    stop: threading.Event | None = None,
) -> list[HostResult]:
    """Work on every device.

    Args:
        targets: the devices. Where none is marked as a canary and there are several, the first one is it.
        work: on one device; called from several threads.
        rollout: how many at a time, and when to stop.
        stop: set by this function when it is interrupted; `work` should look at it.

    Returns:
        one result per device, in the order of `targets`; "skipped" where none was begun.
    """
    canaries = [t for t in targets if t.canary] or list(targets[:1])
    results: dict[Target, HostResult] = {}
    for target in canaries:
        results[target] = work(target)
        if results[target].failed:
            break
    else:
        others = [t for t in targets if t not in results]
        results.update(_side_by_side(others, work, rollout, stop or threading.Event()))
    return [results.get(t) or HostResult(t.host, "skipped", board=t.board) for t in targets]


def everywhere(
    targets: Sequence[Target], work: Callable[[Target], HostResult], parallel: int
) -> list[HostResult]:
    """Work on every device whatever becomes of the others: for what changes nothing."""
    with ThreadPoolExecutor(max_workers=max(1, min(parallel, len(targets)))) as pool:
        return list(pool.map(work, targets))


def exit_code(results: Sequence[HostResult]) -> int:
    """0: every device went well; 3: some failed, all of them by a gate; 1: some failed otherwise."""
    verdicts = {r.verdict for r in results if r.failed}
    if not verdicts:
        return OK
    return GATE if verdicts == {"gate"} else ERROR


def _side_by_side(
    targets: Sequence[Target],
    work: Callable[[Target], HostResult],
    rollout: Rollout,
    stop: threading.Event,
) -> dict[Target, HostResult]:
    results: dict[Target, HostResult] = {}
    waiting = list(targets)
    with ThreadPoolExecutor(max_workers=max(1, min(rollout.parallel, len(waiting)))) as pool:
        running: dict[Future[HostResult], Target] = {}
        try:
            while waiting or running:
                failures = sum(result.failed for result in results.values())
                while waiting and len(running) < rollout.parallel and failures < rollout.max_failures:
                    target = waiting.pop(0)
                    running[pool.submit(work, target)] = target
                if not running:
                    break
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    results[running.pop(done)] = done.result()
        except BaseException:
            stop.set()
            raise
    return results
