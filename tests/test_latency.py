from __future__ import annotations

import json
import math

import pytest

from bisenet_edge.latency import LatencySummary


def test_percentiles_of_known_times():
    summary = LatencySummary.of([float(v) for v in range(101)])  # 0..100 ms
    assert summary == LatencySummary(101, 50.0, 50.0, 90.0, 99.0, 0.0, 100.0)


def test_order_does_not_matter():
    assert LatencySummary.of([3.0, 1.0, 2.0]).p50_ms == 2.0


@pytest.mark.parametrize(("samples", "refused"), [(1, True), (99, True), (100, False)])
def test_p99_is_refused_below_100_samples(samples, refused):
    summary = LatencySummary.of([5.0] * samples)
    assert math.isnan(summary.p99_ms) is refused
    assert summary.p90_ms == summary.max_ms == 5.0
    value = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert (value["p99_ms"] is None) is refused
    assert value["samples"] == samples
    assert isinstance(value["samples"], int)


def test_no_times_are_refused():
    with pytest.raises(ValueError, match="no times"):
        LatencySummary.of([])
