"""README.md and the guides say nothing that is not so: their commands parse, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from bisenet_edge.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = "".join(
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("datasets.md", "training.md")
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# Programs that a README may call beside ours; what they are told is not checked.
OTHERS = {"cd", "git", "pip", "python", "python3", "scp", "ssh", "sudo", "tar", "tensorboard", "docker"}


def commands() -> list[str]:
    """The command lines of all ```sh blocks, and of `make ...` and `bisenet-edge ...` in running text."""
    text = TEXT + GUIDES
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:make|bisenet-edge) [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    parts = [part.strip().removeprefix("$ ") for line in lines for part in line.split("&&")]
    # COMMAND and "..." stand for what the reader chooses.
    return [p for p in parts if p and not p.startswith("#") and "COMMAND" not in p and "..." not in p]


def parse(words: list[str]) -> None:
    """Let click read a command line without running it; an unknown command or option raises."""
    group: click.Command = app
    context = click.Context(app, info_name="bisenet-edge")
    while isinstance(group, click.Group):
        name, *words = [w for w in words if w != "--debug"] or ["--help"]
        if name.startswith("-"):
            assert name in ("--help", "-h", "--version")
            return
        found = group.get_command(context, name)
        assert found is not None
        group = found
    if "--help" not in words:
        group.make_context(group.name, words, parent=context)


@pytest.mark.parametrize("line", commands())
def test_a_command_exists(line):
    words = shlex.split(line, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    program, *rest = words
    if program == "make":
        assert {word for word in rest if "=" not in word} <= TARGETS
    elif program == "bisenet-edge":
        parse(rest)
    else:
        assert program in OTHERS
    for word in rest:
        if word.endswith((".py", ".sh")):
            assert (ROOT / word).is_file()


def test_the_two_commands_of_a_stranger_are_there():
    assert {"make demo", "make test"} <= set(commands())


def test_a_wrong_command_would_be_noticed():
    with pytest.raises(click.UsageError):
        parse(["export", "--int9"])


def test_links_lead_somewhere():
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", TEXT) if "://" not in link}
    assert [link for link in sorted(links - {""}) if not (ROOT / link).exists()] == []
