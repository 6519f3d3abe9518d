"""An evaluation in a report: in an artifact's, or as a page of its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bisenet_edge.errors import MissingDependencyError
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.evaluation.evaluate import Evaluation
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.report.sections import REPORT_HTML, WrittenReport, update_report, write_report

SECTION = "evaluation"


def add_to_report(folder: Path, evaluation: Evaluation) -> WrittenReport:
    """Replace the section "evaluation" of an artifact's report, and its pictures.

    Raises:
        ArtifactError: report.json is there but cannot be read.
        SinkError: the folder cannot be written.
    """
    section = {**evaluation.to_json(), "frames": evaluation.gallery.write(folder, SECTION)}
    return update_report(folder, SECTION, section)


def write_page(path: Path, evaluation: Evaluation) -> None:
    """Write one HTML file that holds everything, pictures too.

    Raises:
        MissingDependencyError: what draws the page is not installed.
        SinkError: it cannot be written.
    """
    with replace_when_written(path) as temporary, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / path.stem  # its name is the title
        folder.mkdir()
        section = {**evaluation.to_json(), "frames": evaluation.gallery.write(folder, SECTION)}
        written = write_report(folder, {SECTION: section, "machine": describe_machine()})
        if written.reason:
            raise MissingDependencyError(
                "a page cannot be drawn here",
                got=written.reason,
                fix="pip install jinja2 matplotlib   (or take the figures alone: --json)",
            )
        shutil.copyfile(str(folder / REPORT_HTML), str(temporary))
