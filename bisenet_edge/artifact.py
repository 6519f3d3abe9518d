"""The artifact: a folder with a manifest and model files, the contract between toolchain and device.

Every file is listed with its SHA-256. An artifact is verified when it is opened; one changed byte is
an error that names the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Dict, List, Tuple

from bisenet_edge.errors import ArtifactError, BisenetEdgeError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.resources import replace_when_written

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
UNHASHED = (MANIFEST, "report.json", "report.html")  # later commands add to these
MODEL_FILES = {
    "fp32": "model.fp32.onnx",
    "int8": "model.int8.onnx",
    "int8-typed": "model.int8-typed.onnx",
    "fp16-typed": "model.fp16-typed.onnx",
}
"""Flavour -> file name. "int8" is FP32 + Q/DQ at opset 17; the typed ones are for strongly typed TensorRT."""

INPUT_SPEC = {
    "name": "frame",
    "dtype": "uint8",
    "layout": "NHWC",
    "channels": "BGR",
    "normalisation": "inside the graph",
    "fit": "scale to fit, keep the aspect ratio, pad right and bottom with 128",
}
OUTPUT_SPEC = {"name": "mask", "dtype": "uint8", "layout": "NHW", "values": "train ids", "logits": "logits"}


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself.

    Attributes:
        name: folder name.
        created: UTC, ISO 8601.
        model: name of the network.
        labels: classes and colours.
        size: of the network's input; a mask has the same size.
        precision: "int8" when there is an INT8 model, else "fp32".
        files: path relative to the folder -> SHA-256.
        parent: checkpoint it was made from: file, sha256, metrics, recipe.
        calibration: data, seed, observer, image names and hashes; empty without INT8.
        tools: package -> version that made it.
        measured: what was measured of it, with the machine it was measured on.
        runs: flavour that runs by default ("int8", "bf16" or "fp32"), chosen on the machine where it was
            timed; "" becomes `precision`.
        logits_stride: how much smaller the tensor `logits` is than the (padded) frame; 1 = not at all.
    """

    name: str
    created: str
    model: str
    labels: LabelSet
    size: Size
    precision: str
    files: Dict[str, str] = field(default_factory=dict)
    parent: Dict[str, Any] = field(default_factory=dict)
    calibration: Dict[str, Any] = field(default_factory=dict)
    tools: Dict[str, str] = field(default_factory=dict)
    measured: Dict[str, Any] = field(default_factory=dict)
    runs: str = ""
    logits_stride: int = 8

    def __post_init__(self) -> None:
        if not self.runs:
            object.__setattr__(self, "runs", self.precision)

    def to_json(self) -> Dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "task": "semantic-segmentation",
            "name": self.name,
            "created": self.created,
            "model": self.model,
            "labels": self.labels.to_json(),
            "size": {"width": self.size.width, "height": self.size.height},
            "input": {**INPUT_SPEC, "shape": [1, self.size.height, self.size.width, 3]},
            "output": {**OUTPUT_SPEC, "logits_stride": self.logits_stride, "shape": [1, *self.size.hw]},
            "precision": self.precision,
            "runs": self.runs,
            "parent": self.parent,
            "calibration": self.calibration,
            "tools": self.tools,
            "measured": self.measured,
            "files": self.files,
        }

    @classmethod
    def from_json(cls, value: Dict[str, Any]) -> Manifest:
        """Read a manifest.

        Raises:
            ArtifactError: another schema version, or a field missing or of the wrong type.
        """
        version = value.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ArtifactError(
                "an artifact of another schema version",
                got=repr(version),
                expected=str(SCHEMA_VERSION),
                fix="export it again with this version of bisenet-edge",
            )
        try:
            return cls(
                name=str(value["name"]),
                created=str(value["created"]),
                model=str(value["model"]),
                labels=LabelSet.from_json(value["labels"]),
                size=Size(int(value["size"]["width"]), int(value["size"]["height"])),
                precision=str(value["precision"]),
                runs=str(value.get("runs", "")),  # artifacts made before it was measured have none
                logits_stride=int(value.get("output", {}).get("logits_stride", 8)),  # older ones: 8
                files={_inside(str(k)): str(v) for k, v in value["files"].items()},
                parent=dict(value["parent"]),
                calibration=dict(value["calibration"]),
                tools=dict(value["tools"]),
                measured=dict(value["measured"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                "a manifest lacks something", got=repr(error), expected=f"schema version {SCHEMA_VERSION}"
            ) from error


def _inside(relative: str) -> str:
    # A manifest may come from anywhere; its files must not.
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative:
        raise ArtifactError("a manifest names a file outside its folder", got=repr(relative))
    return relative


@dataclass(frozen=True)
class Artifact:
    """An opened artifact: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Open an artifact and verify every file.

        Raises:
            ArtifactError: no manifest, another schema, a file missing or changed.
        """
        try:
            value = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except OSError as error:
            raise ArtifactError(
                "no artifact here",
                got=f"{path}: {error.strerror}",
                expected=f"a folder with {MANIFEST}",
                fix="make one: bisenet-edge export --int8",
            ) from error
        except ValueError as error:
            raise ArtifactError("a manifest is not JSON", got=f"{path / MANIFEST}: {error}") from error
        if not isinstance(value, dict):
            raise ArtifactError("a manifest is not a JSON object", got=str(path / MANIFEST))
        artifact = cls(path, Manifest.from_json(value))
        artifact.verify()
        return artifact

    def verify(self) -> None:
        """Compare every file with its SHA-256.

        Raises:
            ArtifactError: a file is missing or changed.
        """
        for relative, expected in self.manifest.files.items():
            file = self.path / relative
            if not file.is_file():
                raise ArtifactError(
                    "an artifact is incomplete", got=f"missing: {file}", fix="export it again"
                )
            found = file_sha256(file)
            if found != expected:
                raise ArtifactError(
                    "a file of an artifact has changed since it was made",
                    got=f"{file}: sha256 {found[:16]}...",
                    expected=f"sha256 {expected[:16]}...",
                    fix="copy the artifact again, or export it again",
                )

    def model_path(self, flavour: str) -> Path:
        """File of one flavour ("fp32", "int8", "int8-typed", "fp16-typed").

        Raises:
            ArtifactError: this artifact has no such flavour.
        """
        name = MODEL_FILES.get(flavour, "")
        if name not in self.manifest.files:
            has = [f for f, file in MODEL_FILES.items() if file in self.manifest.files]
            raise ArtifactError(
                f"this artifact has no {flavour} model",
                got=str(self.path),
                expected=", ".join(has),
                fix="make one: bisenet-edge export --int8" if flavour.startswith("int8") else "",
            )
        return self.path / name


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, whole or not at all, into a folder whose other files are complete.

    Raises:
        SinkError: the folder cannot be written.
    """
    text = json.dumps(manifest.to_json(), indent=2)
    with replace_when_written(folder / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def check_name(name: str) -> None:
    """Refuse a name that could not stand in a shell script or a file name everywhere.

    Raises:
        UsageError: other characters than letters, digits, ".", "_" and "-".
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise UsageError(
            "an artifact cannot have this name",
            got=repr(name),
            expected="letters, digits, '.', '_' and '-'",
            fix="for example --out artifacts/mine",
        )


def is_artifact(folder: Path) -> bool:
    """Whether `folder` holds a manifest of ours, whatever the state of its other files."""
    return bool(_created(folder / MANIFEST, lambda manifest: True))


def hash_files(folder: Path) -> Dict[str, str]:
    """SHA-256 of every file under `folder` but the manifest and the reports, by path relative to it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in UNHASHED)
    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in files}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def has_artifact(folder: Path, wanted: Callable[[Manifest], bool]) -> bool:
    """Whether an artifact right under `folder` has a manifest that is `wanted`."""
    return bool(_find(folder, wanted))


def newest_artifact(folder: Path, wanted: Callable[[Manifest], bool] = lambda manifest: True) -> Artifact:
    """The newest artifact right under `folder` whose manifest is `wanted`, verified.

    Raises:
        ArtifactError: there is none, or the newest is damaged.
    """
    found = _find(folder, wanted)
    if not found:
        raise ArtifactError(
            "no artifact to work on",
            got=f"none in {folder}{'/' if folder.is_dir() else ' (no such folder)'}",
            fix="make one: bisenet-edge export --int8",
        )
    return Artifact.open(found[-1][1].parent)


def _find(folder: Path, wanted: Callable[[Manifest], bool]) -> List[Tuple[str, Path]]:
    """(created, manifest path) of the wanted artifacts right under `folder`, oldest first."""
    return sorted(
        (created, path) for path in folder.glob(f"*/{MANIFEST}") for created in _created(path, wanted)
    )


def _created(path: Path, wanted: Callable[[Manifest], bool]) -> List[str]:
    """When the artifact of a manifest was made, as a list of one; empty when it is not a wanted one.

    A foreign or damaged folder must not hide the good ones; opened by name, it says what is wrong.
    """
    try:
        manifest = Manifest.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (BisenetEdgeError, OSError, ValueError):
        return []
    return [manifest.created] if wanted(manifest) else []
