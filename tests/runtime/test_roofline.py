"""Lower bounds against figures computed by hand."""

from __future__ import annotations

import json

import pytest

from bisenet_edge.boards import Board, PowerMode, boards, load_board
from bisenet_edge.runtime.profile.roofline import LABEL, LayerCost, estimates
from bisenet_edge.runtime.profile.text import estimate_text

# At 1 TOPS and 1 GB/s: 2 ms of operations and 1 ms of bytes; the other way round for the second.
LAYERS = (
    LayerCost("first", "Conv", 2_000_000_000, True, 1_000_000),
    LayerCost("second", "Resize", 0, False, 4_000_000),
)
FLOATING = LayerCost("third", "Conv", 1_000_000_000, False, 500_000)
MODE = PowerMode("maximum", memory_bandwidth_gb_s=1.0, int8_dense_tops=1.0)


def board_of(*modes: PowerMode) -> Board:
    return Board("mine", "My board", ("6.2",), True, ("me",), modes=modes)


def test_by_hand():
    (found,) = estimates(board_of(MODE), "int8", LAYERS)
    assert (found.compute_ms, found.memory_ms) == (pytest.approx(2.0), pytest.approx(5.0))
    assert found.whole_ms == pytest.approx(5.0)
    assert found.by_layer_ms == pytest.approx(2.0 + 4.0)
    assert found.notes == ()
    told = found.to_json()
    assert told["label"] == LABEL
    assert (told["gigaoperations"], told["megabytes"]) == (2.0, 5.0)


def test_what_is_not_known_is_left_out_and_said():
    blind = PowerMode("maximum", memory_bandwidth_gb_s=1.0)
    (found,) = estimates(board_of(blind), "int8", LAYERS)
    assert (found.compute_ms, found.memory_ms, found.whole_ms) == (
        None,
        pytest.approx(5.0),
        pytest.approx(5.0),
    )
    assert found.notes == ("the dense INT8 rate of this board is not known: memory traffic alone",)
    fast = PowerMode("maximum", int8_dense_tops=1.0)
    (found,) = estimates(board_of(fast), "int8", LAYERS)
    assert (found.compute_ms, found.memory_ms) == (pytest.approx(2.0), 0 or None)
    assert "operations alone" in found.notes[0]
    assert estimates(board_of(PowerMode("maximum", int8_sparse_tops=40)), "int8", LAYERS) == []
    assert estimates(board_of(), "int8", LAYERS) == []


def test_fp16_needs_a_rate_of_its_own():
    floats = (FLOATING,)
    assert estimates(board_of(MODE), "fp16", floats) == []
    with_rate = PowerMode("maximum", 1.0, 1.0, fp16_dense_tflops=0.5)
    (found,) = estimates(board_of(with_rate), "fp16", floats)
    assert found.compute_ms == pytest.approx(2.0)
    # A layer that export left in floating point, in the INT8 network.
    (mixed,) = estimates(board_of(MODE), "int8", (*LAYERS, FLOATING))
    assert mixed.compute_ms == pytest.approx(2.0)
    assert "FP16 rate is not known: the operations of 1 layers" in mixed.notes[0]
    (whole,) = estimates(board_of(with_rate), "int8", (*LAYERS, FLOATING))
    assert whole.compute_ms == pytest.approx(4.0)


def test_the_gpu_alone_counts_where_it_is_known():
    both = PowerMode("maximum", 1.0, int8_dense_tops=2.0, tops_include_dla=True)
    (found,) = estimates(board_of(both), "int8", LAYERS)
    assert found.compute_ms == pytest.approx(1.0)
    assert "counts the DLAs" in found.notes[0]
    alone = PowerMode("maximum", 1.0, int8_dense_tops=2.0, gpu_int8_dense_tops=1.0, tops_include_dla=True)
    (found,) = estimates(board_of(alone), "int8", LAYERS)
    assert (found.compute_ms, found.notes) == (pytest.approx(2.0), ())


def test_the_text_says_that_it_is_an_estimate():
    told = [found.to_json() for found in estimates(board_of(MODE), "int8", LAYERS)]
    text = estimate_text(json.loads(json.dumps(told)), "toy on My board", ["me"])
    assert text.startswith("toy on My board: ESTIMATE from vendor peak rates, not measured")
    rows = [line.split() for line in text.splitlines()]
    assert ["maximum,", "int8", "2.00", "5.00", "5.00", "6.00"] in rows
    assert ["second", "(Resize)", "4.00", "memory", "-"] in rows
    assert ["first", "(Conv)", "2.00", "operations", "INT8"] in rows
    assert "source: me" in text


@pytest.mark.parametrize("name", boards())
def test_every_shipped_board_gives_an_estimate_or_none(name):
    board = load_board(name)
    found = estimates(board, "int8", LAYERS)
    known = [mode.name for mode in board.modes if mode.memory_bandwidth_gb_s or mode.int8_dense_tops]
    assert [one.mode for one in found] == known
    # No board file has an FP16 rate with a source yet; none may be made up.
    assert estimates(board, "fp16", LAYERS) == []
