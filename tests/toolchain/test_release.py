"""Serials: which of two releases is older."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from bisenet_edge.artifact import Manifest
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.toolchain.release import made_at, serial_of, weight_terms

LABELS = LabelSet("one", ("all",), ((0, 0, 0),))


def manifest(created="2026-01-01", **more):
    return Manifest("m", created, "toy", LABELS, Size(64, 32), "int8", **more)


def numbers(serial):
    return tuple(map(int, serial.split(".")))


def test_an_older_program_is_older_whatever_its_artifact():
    old, new = datetime(2025, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 1, tzinfo=timezone.utc)
    in_order = [
        serial_of(new, "0.9.9"),
        serial_of(old, "0.10.0"),
        serial_of(new, "0.10.0"),
        serial_of(old, "1.0"),
    ]
    assert in_order == sorted(in_order, key=numbers)
    assert len(set(in_order)) == 4


def test_the_serial_is_four_numbers():
    assert serial_of(datetime(1970, 1, 2, tzinfo=timezone.utc), "0.2.0.dev3+abc") == "0.2.0.86400"
    # Not newer than the release that it comes before.
    assert serial_of(datetime(1970, 1, 2, tzinfo=timezone.utc), "1.0rc1") == "1.0.0.86400"


@pytest.mark.parametrize(
    ("created", "epoch", "seconds"),
    [
        ("1970-01-02", "", 86400),
        ("1970-01-02T01:00:00+01:00", "", 86400),
        ("1970-01-02T00:00:00.5+00:00", "", 86400),
        ("1970-01-02", "17", 17),
    ],
)
def test_the_time_is_the_artifacts_or_what_the_build_says(created, epoch, seconds):
    made = made_at(manifest(created), {"SOURCE_DATE_EPOCH": epoch} if epoch else {})
    assert int(made.timestamp()) == seconds


def test_the_terms_of_the_weights_are_those_of_their_data():
    recipe = {"data": ["camvid:data/camvid", "synthetic:?count=2", "mine:x"]}
    terms = weight_terms(manifest(parent={"recipe": recipe}))
    assert "non-commercial" in terms["camvid:data/camvid"]
    assert "Apache-2.0" in terms["synthetic:?count=2"]
    assert "does not know" in terms["mine:x"]
    assert weight_terms(manifest()) == {}
