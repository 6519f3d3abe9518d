from __future__ import annotations

import numpy as np
import pytest
import torch

from bisenet_edge.errors import CalibrationError, UsageError
from bisenet_edge.toolchain.quant.observers import BINS, MAX_VALUES, OBSERVERS, Histogram, amax_of


def histogram_of(*parts):
    histogram = Histogram.empty()
    for part in parts:
        histogram.add(torch.as_tensor(np.asarray(part), dtype=torch.float32))
    return histogram


def gaussian(count=100_000, seed=0):
    return np.random.default_rng(seed).standard_normal(count)


def test_every_value_is_counted_once():
    histogram = histogram_of(gaussian(1000), gaussian(500, seed=1))
    assert histogram.counts.sum() == 1500


def test_growing_keeps_the_counts_and_where_they_are():
    histogram = histogram_of([0.25, 0.75, 1.0])
    before = histogram.counts.copy()
    histogram.add(torch.tensor([-5.0]))
    assert histogram.limit == 8.0  # doubled three times
    assert histogram.largest == 5.0
    assert histogram.counts.sum() == before.sum() + 1
    occupied = histogram.centres()[histogram.counts > 0]
    assert occupied == pytest.approx([0.25, 0.75, 1.0, 5.0], abs=8 / BINS)


def test_the_order_of_pictures_does_not_matter():
    small, large = gaussian(5000), gaussian(5000, seed=1) * 8
    once, again = histogram_of(small, large), histogram_of(large, small)
    assert once.largest == again.largest
    for observer in OBSERVERS:
        assert amax_of(once, observer) == pytest.approx(amax_of(again, observer), rel=0.03)


def test_the_largest_is_exact_though_few_values_are_counted():
    values = np.full(3 * MAX_VALUES, 0.5)
    values[1] = 7.25  # not among every third
    histogram = histogram_of(values)
    assert histogram.counts.sum() == MAX_VALUES
    assert amax_of(histogram, "max") == 7.25


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(CalibrationError, match="not finite"):
        histogram_of([1.0, bad])


@pytest.mark.parametrize("observer", OBSERVERS)
def test_a_tensor_of_zeros_has_the_range_0(observer):
    assert amax_of(histogram_of(np.zeros(10)), observer) == 0.0


@pytest.mark.parametrize("observer", OBSERVERS)
def test_no_range_is_beyond_the_largest_value(observer):
    for values in ([3.0], [1e-7, 3.0], gaussian(1000), np.full(100, 0.123)):
        histogram = histogram_of(values)
        assert 0 < amax_of(histogram, observer) <= histogram.largest


@pytest.mark.parametrize("observer", OBSERVERS)
def test_nothing_is_cut_off_a_uniform_distribution(observer):
    values = np.random.default_rng(0).uniform(-2, 2, 100_000)
    assert amax_of(histogram_of(values), observer) == pytest.approx(2.0, rel=0.02)


def test_max_is_the_largest_magnitude():
    assert amax_of(histogram_of([1.0, -3.5], [2.0]), "max") == 3.5


def test_percentile():
    # 99.99 % of 0.0001, 0.0002, ... 1 lie below 0.9999; twenty outliers in a million are left out.
    even = np.arange(1, 100_001) / 100_000
    assert amax_of(histogram_of(even), "percentile") == pytest.approx(0.9999, abs=2 / BINS)
    values = np.concatenate([even] * 2 + [np.full(10, 4.0)])
    assert amax_of(histogram_of(values), "percentile") == pytest.approx(1.0, abs=8 / BINS)


def error_of(values, amax):
    scale = amax / 127
    return np.mean((values - np.clip(np.round(values / scale), -128, 127) * scale) ** 2)


@pytest.mark.parametrize("outliers", [[], [30.0, -40.0]])
def test_mse_is_the_range_of_least_squared_error(outliers):
    values = np.concatenate([gaussian(), outliers])
    chosen = error_of(values, amax_of(histogram_of(values), "mse"))
    best = min(error_of(values, amax) for amax in np.linspace(1, np.abs(values).max(), 400))
    assert chosen <= best * 1.02


def test_a_lonely_outlier_is_cut_off():
    values = np.concatenate([gaussian(), [100.0]])
    histogram = histogram_of(values)
    # In the body's tail, past 3 sigma and far from the outlier; mse pays for the outlier's square.
    assert 3 < amax_of(histogram, "entropy") < 12
    assert 3 < amax_of(histogram, "percentile") < 5
    assert amax_of(histogram, "mse") < 80


@pytest.mark.parametrize("observer", ["entropy", "mse"])
def test_zeros_do_not_pull_the_range_towards_zero(observer):
    # Behind a ReLU: half or more of all values are exactly 0.
    values = np.abs(gaussian(40_000))
    with_zeros = histogram_of(np.concatenate([values, np.zeros(160_000)]))
    without = histogram_of(values)
    assert with_zeros.counts[0] >= 160_000
    assert amax_of(with_zeros, observer) == pytest.approx(amax_of(without, observer), rel=0.05)


def test_an_unknown_observer_gets_the_nearest():
    with pytest.raises(UsageError, match="unknown observer") as caught:
        amax_of(histogram_of([1.0]), "entrophy")
    assert caught.value.fix == "did you mean 'entropy'?"
