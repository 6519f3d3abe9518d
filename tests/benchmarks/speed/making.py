"""Make what the contestants share; the one place of this benchmark that quantizes our network."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from bisenet_edge.artifact import MODEL_FILES, Manifest, hash_files, write_manifest
from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.streets import Scene

from .graphs import OUTPUTS, plain_graph
from .material import ABOUT, Material

FRAMES = 4
CALIBRATION_FRAMES = 16
CALIBRATION_PIXELS = 16 * 640 * 360
"""Peers calibrate on so many pixels, at least 4 frames: all their tools run them in FP32."""
CLIP_FRAMES = 120
FPS = 30
QUANTIZE_AT = Size(640, 360)
PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "numpy")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to make, and of which weights.

    Attributes:
        model: name of the network.
        sizes: of its input.
        weights: checkpoint; None = the shipped one, or random weights where none is shipped.
        quantize_at: our network is quantized once, at this size, and runs at all of them.
    """

    model: str
    sizes: tuple[Size, ...]
    weights: Path | None = None
    quantize_at: Size = QUANTIZE_AT


def make(work: Path, wanted: Wanted, tell: Tell = print) -> list[Material]:
    """Make the material of one network at some sizes; what is there and still fits is kept.

    Args:
        work: folder that keeps it.
        wanted: what.
        tell: told what is being made.

    Returns:
        in the order of `wanted.sizes`.
    """
    key = _key(wanted)
    folders = [work / f"{wanted.model}-{size}" for size in wanted.sizes]
    stale = [not _is_made(folder, key) for folder in folders]
    if any(stale):
        maker = _Maker(wanted, key, tell)
        for folder, size, old in zip(folders, wanted.sizes, stale):
            if old:
                maker.make(folder, size)
    return [Material.open(folder) for folder in folders]


def _key(wanted: Wanted) -> str:
    """Changes with whatever would change the files: weights, packages, our exporter."""
    import bisenet_edge

    package = Path(bisenet_edge.__file__).parent
    own = [Path(__file__).with_name(name) for name in ("graphs.py", "making.py", "material.py")]
    sources = [*sorted((package / "toolchain").rglob("*.py")), *own]
    weights = _weights_file(wanted)
    files = [*sources, *([weights] if weights else [])]
    state = hashlib.sha256(f"{wanted.model} {wanted.quantize_at}".encode())
    for name in PACKAGES:
        state.update(f"{name} {importlib.metadata.version(name)};".encode())
    for file in files:
        state.update(file.read_bytes())
    return state.hexdigest()


def _is_made(folder: Path, key: str) -> bool:
    about = folder / ABOUT
    return about.is_file() and json.loads(about.read_text(encoding="utf-8")).get("key") == key


class _Maker:
    def __init__(self, wanted: Wanted, key: str, tell: Tell) -> None:
        self._wanted, self._key, self._tell = wanted, key, tell
        self._checkpoint, self._trained = _weights(wanted)
        tell(f"quantizing {wanted.model}")
        self._folded, self._quantized = _networks(self._checkpoint, wanted.quantize_at)

    def make(self, folder: Path, size: Size) -> None:
        from bisenet_edge.toolchain import checkpoint as checkpoints

        self._tell(f"graphs, frames and reference masks of {self._wanted.model} at {size}")
        shutil.rmtree(folder, ignore_errors=True)  # it may be another version's
        folder.mkdir(parents=True)
        material = Material(
            folder, self._wanted.model, size, len(self._checkpoint.labels), trained=self._trained
        )
        checkpoints.write(material.checkpoint, self._checkpoint)
        self._write_graphs(material)
        scene = Scene(5, size)
        frames = np.stack([scene.render(second)[0] for second in range(FRAMES)])
        np.save(folder / "frames.npy", frames)
        other = Scene(6, size)
        count = min(CALIBRATION_FRAMES, max(4, CALIBRATION_PIXELS // (size.width * size.height)))
        np.save(folder / "calibration.npy", np.stack([other.render(1.5 * n)[0] for n in range(count)]))
        np.save(folder / "reference.npy", _reference(self._folded, frames))
        _write_clip(material, frames)
        material.save(key=self._key)

    def _write_graphs(self, material: Material) -> None:
        from bisenet_edge.toolchain.onnx_graph import to_onnx

        material.artifact.mkdir()
        fp32 = to_onnx(self._folded, material.size)
        onnx.save(fp32, str(material.artifact / MODEL_FILES["fp32"]))
        int8 = to_onnx(self._quantized, material.size)
        onnx.save(int8, str(material.artifact / MODEL_FILES["int8"]))
        files = hash_files(material.artifact)
        labels = self._checkpoint.labels
        name = material.folder.name
        made = datetime.now(timezone.utc).isoformat(timespec="seconds")
        manifest = Manifest(name, made, material.model, labels, material.size, "int8", files=files)
        write_manifest(material.artifact, manifest)
        for output in OUTPUTS:
            onnx.save(plain_graph(fp32, material.size, output), str(material.plain(output)))


def _weights_file(wanted: Wanted) -> Path | None:
    """The checkpoint that was named, or is shipped for this network; None = random weights."""
    from bisenet_edge.resources import shipped_or

    if wanted.weights is not None:
        return wanted.weights
    shipped = shipped_or(Path(f"{wanted.model}-{CAMVID.name}"))
    return shipped if shipped.is_file() else None


def _weights(wanted: Wanted) -> tuple[Any, bool]:
    """A checkpoint, and whether it was trained."""
    import torch

    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.models import zoo

    path = _weights_file(wanted)
    if path is not None:
        found = checkpoints.read(path)
        if found.model != wanted.model:
            raise ValueError(f"{path} is a {found.model}, not a {wanted.model}")
        return found, True
    torch.manual_seed(0)
    weights = dict(zoo.build(wanted.model, len(CAMVID)).state_dict())
    return checkpoints.Checkpoint(wanted.model, CAMVID, weights), False


def _networks(checkpoint: Any, size: Size) -> tuple[Any, Any]:
    """Folded FP32 network and its INT8 twin, calibrated on synthetic streets."""
    from bisenet_edge.toolchain.int8 import Int8Options, make_int8
    from bisenet_edge.toolchain.quant.fold import fold
    from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe

    folded = fold(checkpoint.build())
    recipe = CalibrationRecipe(f"synthetic:?count=32&size={size}", count=CALIBRATION_FRAMES)
    quantized = make_int8(checkpoint, folded, size, Int8Options(recipe)).quantized
    assert quantized is not None  # no gate was set
    return folded, quantized.network


def _reference(folded: Any, frames: Sequence[np.ndarray]) -> np.ndarray:
    """Masks by torch in FP32: bilinear up-sampling (half-pixel) and argmax; uint8 [N, H, W]."""
    import torch
    from torch.nn import functional

    masks = []
    with torch.no_grad():
        for frame in frames:
            image = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
            full = functional.interpolate(
                folded(image), size=frame.shape[:2], mode="bilinear", align_corners=False
            )
            masks.append(full.argmax(1)[0].byte().numpy())
    return np.stack(masks)


def _write_clip(material: Material, frames: np.ndarray) -> None:
    """A video of panned streets: every frame differs from the one before, and none costs a rendering."""
    labels, height = CAMVID, material.size.height
    blank = np.zeros(material.size.hw, np.uint8)
    with open_sink(str(material.clip), labels, FPS) as sink:
        for number in range(CLIP_FRAMES):
            image = np.roll(frames[number // 30 % len(frames)], 3 * (number % 30), axis=1)
            cv2.putText(image, str(number), (8, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
            sink.write(Frame(image, number, number), blank)
