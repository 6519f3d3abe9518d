"""Sources and sinks by URI."""

from __future__ import annotations

import pytest

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.uris import has_secret, local_path, redacted, redacted_text, refuse_clashes


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


def test_a_sink_never_replaces_a_source_named_as_a_uri(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="would replace"):
        refuse_clashes(f"file://{tmp_path}/clip.mp4?out=640x360", ["clip.mp4"])
    refuse_clashes("rtsp://cam/clip.mp4", ["clip.mp4"])


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("rtsp://me:pass@cam:554/a", "rtsp://me:***@cam:554/a"),
        ("rtsp://me:p@ss:w@cam/a?b=1", "rtsp://me:***@cam/a?b=1"),
        ("rtsp://:pass@cam", "rtsp://:***@cam"),
        ("HTTP://me:pass@cam", "HTTP://me:***@cam"),
        ("http://cam/a?user=me&pwd=pass&x=1", "http://cam/a?user=me&pwd=***&x=1"),
        ("rtsp://me@cam/a@b:c", "rtsp://me@cam/a@b:c"),
        ("rtsp://cam:554/a@b", "rtsp://cam:554/a@b"),
        ("a:b@c.mp4", "a:b@c.mp4"),
    ],
)
def test_passwords_are_not_told(uri, told):
    assert redacted(uri) == told
    assert redacted(told) == told


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("rtsp://me:pass@cam/a", True),
        ("rtsp://key@cam", True),
        ("http://cam/a?x=1&token=abc", True),
        ("rtsp://cam:554/a@b", False),
        ("http://cam/a?x=me@home", False),
        ("v4l2:///dev/video0?width=640", False),
    ],
)
def test_logins_and_tokens_are_known(uri, secret):
    assert has_secret(uri) == secret


def test_passwords_are_taken_out_of_the_texts_of_others():
    uri = "rtsp://me:p%40ss@cam/a?token=abc"
    text = "cannot open rtsp://me:p%40ss@cam/a?token=abc (user-pw=p@ss), nor rtsp://you:else@there/"
    assert redacted_text(text, uri) == (
        "cannot open rtsp://me:***@cam/a?token=*** (user-pw=***), nor rtsp://you:***@there/"
    )


def test_local_paths():
    assert str(local_path("file:///a/b%20c.mp4?out=640x360")) == "/a/b c.mp4"
    assert str(local_path("clip.mp4")) == "clip.mp4"
    assert local_path("rtsp://cam/a") is None
