"""Makes the broken files that `test_bad_input` feeds to the commands, each in a given folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from bisenet_edge.resources import shipped_checkpoint

CLASSES = 'name = "two"\n[[class]]\nname = "a"\ncolor = [0, 0, 0]\n[[class]]\nname = "b"\ncolor = [9, 9, 9]\n'


def artifact_in(here: Path) -> Path:
    (folder,) = (here / "artifacts").iterdir()
    return folder


def image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def camvid(here: Path, label: np.ndarray | None, hw: tuple[int, int] = (64, 96)) -> None:
    """A CamVid folder: two pictures in each split, with `label` as the label of the last one."""
    good = np.zeros((64, 96), np.uint8)
    for split in ("train", "val"):
        folder = here / "data" / split
        (folder / "labels").mkdir(parents=True)
        for name, ids in (("a", good), ("b", label)):
            image(folder / "images" / f"{name}.png", np.full((*hw, 3), 90, np.uint8))
            if ids is not None:
                image(folder / "labels" / f"{name}.png", ids)


def empty_data(here: Path) -> None:
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (here / "data" / split / kind).mkdir(parents=True)


def two_classes(here: Path) -> None:
    camvid(here, np.ones((64, 96), np.uint8))
    (here / "data" / "labels.toml").write_text(CLASSES)


def broken_picture(here: Path) -> None:
    camvid(here, np.zeros((64, 96), np.uint8))
    (here / "data" / "train" / "images" / "b.png").write_bytes(b"not a picture")


def checkpoint(here: Path, **changes: str | None) -> None:
    """The shipped checkpoint with another header; a value of None removes the key."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(str(shipped_checkpoint()), framework="pt") as file:
        header = {**file.metadata(), **changes}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, here / "my.safetensors", {k: v for k, v in header.items() if v is not None})


def checkpoint_of_two_classes(here: Path) -> None:
    labels = {"name": "two", "names": ["a", "b"], "palette_rgb": [[0, 0, 0], [9, 9, 9]]}
    checkpoint(here, labels=json.dumps(labels))


def half_a_checkpoint(here: Path) -> None:
    (here / "my.safetensors").write_bytes(shipped_checkpoint().read_bytes()[:100_000])


def change_a_byte(here: Path) -> None:
    path = artifact_in(here) / "model.int8.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_manifest(here: Path, **changes: object) -> None:
    path = artifact_in(here) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_int8(here: Path) -> None:
    files = json.loads((artifact_in(here) / "manifest.json").read_text())["files"]
    change_manifest(here, files={k: v for k, v in files.items() if "int8" not in k}, precision="fp32")


def truncated_video(here: Path) -> None:
    path = here / "cut.avi"
    writer = cv2.VideoWriter(str(path), int.from_bytes(b"MJPG", "little"), 25, (96, 64))
    for index in range(40):
        writer.write(np.random.default_rng(index).integers(0, 255, (64, 96, 3), np.uint8))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def file(name: str, text: str = "something that was there before\n") -> Callable[[Path], object]:
    def write(here: Path) -> None:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)

    return write
