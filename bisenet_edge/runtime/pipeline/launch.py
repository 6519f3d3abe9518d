"""A run from URIs: open everything, tell systemd, heed signals, run, and say how it ended."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Tuple

from bisenet_edge.artifact import Artifact
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.run_report import STOPPED, RunReport
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.pipeline.service import Notifier
from bisenet_edge.runtime.pipeline.stopping import StopSignals
from bisenet_edge.runtime.power.reader import PowerReader
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sources import open_source
from bisenet_edge.runtime.uris import redacted, refuse_clashes


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        source: URI.
        sinks: URIs.
        backend, precision, threads: as `backends.open_session` takes them.
    """

    source: str
    sinks: Tuple[str, ...]
    backend: str = "auto"
    precision: str = ""
    threads: int = 0


def camera_to_mask(
    artifact: Artifact, job: Job, options: RunOptions, progress: Progress = quiet
) -> RunReport:
    """Run a job; on the main thread, for it handles signals.

    Raises:
        UsageError: a URI that is not understood, or a sink that would replace the source.
        SourceError, SinkError, BackendError: something cannot be opened; nothing is left of the rest.
        Whatever `pipeline.run.run` raises.
    """
    refuse_clashes(job.source, job.sinks)
    notifier = Notifier.from_environment()
    status_s = min(options.status_s, (notifier.watchdog_s or float("inf")) / 3)
    options = replace(options, observers=(notifier, *options.observers), status_s=status_s)

    def tell(event: str) -> None:
        for observer in options.observers:
            observer.event(event)

    def building(step: str, done: int, total: int) -> None:
        notifier.building(step, done, total)
        progress(step, done, total)

    with ExitStack() as stack:
        stack.callback(notifier.close)
        signals = stack.enter_context(StopSignals())
        sensors = stack.enter_context(PowerReader.open())
        notifier.loading(redacted(job.source))
        source = stack.enter_context(open_source(job.source, artifact.manifest.size, on_event=tell))
        labels = artifact.manifest.labels
        with ExitStack() as opening:
            sinks = [
                opening.enter_context(open_sink(uri, labels, source.fps, live=source.live))
                for uri in job.sinks
            ]
            notifier.loading("the engine")
            session = open_session(
                artifact,
                job.precision,
                backend=job.backend,
                threads=job.threads,
                throughput=not source.live,
                progress=building,
            )
            segmenter = Segmenter(session)
            stack.callback(segmenter.close_session)
            opening.pop_all()  # the run closes them; one that hangs must not be touched again
        signals.draining()
        notifier.ready()
        report = run(
            source,
            segmenter,
            sinks,
            options=replace(options, sensors=sensors.latest),
            progress=progress,
            stop=signals.stop,
        )
    return replace(report, ended_by=signals.name) if report.ended_by == STOPPED else report


def exit_code(report: RunReport) -> int:
    """0, or 1: a sink failed, or with a latency budget 3: missed, 4: fewer than 100 frames to tell by.

    A service that SIGTERM ended has done what it was told: its budget is in the report, not in the code.
    """
    if report.failures:
        return 1
    if report.latency_budget_ms is None or report.ended_by == "SIGTERM":
        return 0
    return {True: 0, False: 3, None: 4}[report.within_budget]
