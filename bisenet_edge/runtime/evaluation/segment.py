"""From labelled pictures to masks, in order, with the next pictures read meanwhile."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Iterator, Optional, Tuple

import numpy as np

from bisenet_edge.dataset import Dataset, Sample
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.evaluation.scoring import LogitsOf, Scorer
from bisenet_edge.runtime.fit import Fit

Segment = Callable[[Iterator[Sample]], Iterator[Tuple[Sample, np.ndarray]]]
"""Labelled pictures -> each with its mask (uint8 [H, W] of its own size), in the same order."""

READ_AHEAD = 2


def read_ahead(dataset: Dataset) -> Iterator[Sample]:
    """All pictures in order; a thread decodes the next `READ_AHEAD` while one is worked on."""
    waiting: Deque[Future[Sample]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for index in range(len(dataset)):
            waiting.append(pool.submit(dataset.__getitem__, index))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def with_session(session: Session, method: Method) -> Segment:
    """How an engine segments pictures of any size.

    A plain method takes the engine's masks; any other one its logits, which not every engine gives: see
    `backends.require_logits`, which says so before minutes are spent.
    """
    if method.plain:
        return lambda samples: _fitted(session, samples)
    manifest = session.artifact.manifest
    return with_scorer(Scorer(_logits_of(session), len(manifest.labels), method, manifest.size))


def with_scorer(scorer: Scorer) -> Segment:
    """How a scorer segments pictures."""
    return lambda samples: ((sample, scorer.mask(sample.image)) for sample in samples)


def _fitted(session: Session, samples: Iterator[Sample]) -> Iterator[Tuple[Sample, np.ndarray]]:
    """Each picture scaled to fit, as many in flight as the engine takes."""
    waiting: Deque[Tuple[Sample, Fit]] = deque()
    fit: Optional[Fit] = None
    for sample in samples:
        hw = (sample.image.shape[0], sample.image.shape[1])
        if fit is None or fit.source_hw != hw:
            fit = Fit(hw, session.artifact.manifest.size)
            frame = fit.new_input()
        if session.pending == session.in_flight:
            yield _finished(session, waiting)
        session.submit(fit.apply(sample.image, frame))
        waiting.append((sample, fit))
    while waiting:
        yield _finished(session, waiting)


def _finished(session: Session, waiting: Deque[Tuple[Sample, Fit]]) -> Tuple[Sample, np.ndarray]:
    sample, fit = waiting.popleft()
    # A copy: the session's buffer is overwritten by what is submitted next.
    return sample, np.array(fit.undo(session.finish()))


def _logits_of(session: Session) -> LogitsOf:
    stride = session.artifact.manifest.logits_stride
    return lambda frame: (session.logits(frame), stride)
