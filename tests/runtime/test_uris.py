"""Sources and sinks by URI."""

from __future__ import annotations

import pytest

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.uris import refuse_clashes


@pytest.mark.parametrize(
    ("source", "sinks"),
    [("clip.mp4", ["clip.mp4"]), ("pics", ["pics/"]), ("a.mp4", ["two.mp4", "./two.mp4"])],
)
def test_a_sink_never_replaces_the_source_or_another_sink(source, sinks):
    with pytest.raises(UsageError, match="would replace"):
        refuse_clashes(source, sinks)


def test_different_places_are_fine():
    refuse_clashes("clip.mp4", ["overlay.mp4", "masks/", "null://", "null://"])
    refuse_clashes("synthetic://?seed=1", ["synthetic.mp4"])
