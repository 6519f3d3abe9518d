from __future__ import annotations

import json

import pytest

from bisenet_edge.boards import DEFAULT_BOARD, Board, boards, load_board
from bisenet_edge.errors import ConfigError, UsageError


@pytest.mark.parametrize("name", boards())
def test_every_shipped_board_is_readable(name):
    board = load_board(name)
    assert board.name == name
    assert board.sources
    # A Jetson has a GPU; a figure that counts sparsity must not pass for a dense one.
    assert bool(board.jetpack) == (board.compute_capability is not None)
    # What an installation is held to, and the power mode that the figures are of.
    assert bool(board.jetpack) == (board.latency_budget_ms is not None)
    assert all(mode.nvpmodel for mode in board.modes)
    assert bool(board.jetpack) == bool(board.modes)
    assert "not confirmed" not in " ".join(board.sources), "a figure without a source is left out"
    for mode in board.modes:
        if mode.int8_dense_tops and mode.int8_sparse_tops:
            assert mode.int8_sparse_tops == pytest.approx(2 * mode.int8_dense_tops, rel=0.02)
    assert json.loads(json.dumps(board.to_json()))["title"] == board.title


def test_the_boards_of_the_design_are_there():
    expected = {"orin-nano", "orin-nx", "agx-orin", "xavier-nx", "agx-xavier", "thor", "cpu"}
    assert set(boards()) == expected
    assert load_board().name == DEFAULT_BOARD == "orin-nano"


def test_unknown_board_proposes_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'orin-nano'"):
        load_board("orin-nanu")


def _write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\njetpack = []\nhas_int8 = true\nsources = ["me"]\n' + text)
    return path


def test_an_absent_figure_is_none(tmp_path):
    board = Board.from_toml(_write(tmp_path, '[[mode]]\nname = "maximum"\n'))
    assert board.memory_gb is None
    assert board.modes[0].int8_dense_tops is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("memory_mb = 8", UsageError),
        ('memory_gb = "8"', ConfigError),
        ("mode = [1]", ConfigError),
        ('[[mode]]\nname = "maximum"\nint8_tops = 3', UsageError),
        ("[[mode]]\nint8_dense_tops = 3", ConfigError),
    ],
)
def test_a_wrong_board_file_is_refused(tmp_path, text, error):
    with pytest.raises(error):
        Board.from_toml(_write(tmp_path, text))
