"""`release.json`: what a bundle says of itself, and the serial by which a device tells old from new."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from bisenet_edge import __version__
from bisenet_edge.artifact import INPUT_SPEC, OUTPUT_SPEC, Manifest
from bisenet_edge.boards import Board
from bisenet_edge.errors import ArtifactError, UsageError

RELEASE = "release.json"
SCHEMA_VERSION = 1
_LICENCE = "Apache-2.0"
_DATA_TERMS = {
    "camvid": "CamVid is free for non-commercial research use, which limits the use of the weights alike",
    "cityscapes": "Cityscapes is free for non-commercial use, which limits the use of the weights alike",
    "coco-stuff": "COCO-Stuff: annotations CC BY 4.0; each picture has the terms of its Flickr user",
    "synthetic": f"drawn by this project, {_LICENCE}",
}


def made_at(manifest: Manifest, environ: Mapping[str, str] = os.environ) -> datetime:
    """When a release counts as made: SOURCE_DATE_EPOCH if it is set, else when its artifact was exported.

    Not the time of packing: the same artifact gives the same bundle on any day.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is not a number of seconds.
        ArtifactError: the artifact does not tell when it was made.
    """
    epoch = environ.get("SOURCE_DATE_EPOCH", "")
    if epoch:
        if not re.fullmatch(r"[0-9]{1,11}", epoch):
            raise UsageError(
                "SOURCE_DATE_EPOCH is not understood", got=repr(epoch), expected="seconds since 1970"
            )
        return datetime.fromtimestamp(int(epoch), timezone.utc)
    try:
        created = datetime.fromisoformat(manifest.created)
    except ValueError as error:
        raise ArtifactError(
            "an artifact does not tell when it was made",
            got=f"created: {manifest.created!r}",
            expected="a date and time, ISO 8601",
            fix="export it again: bisenet-edge export --int8",
        ) from error
    return created if created.tzinfo else created.replace(tzinfo=timezone.utc)


def serial_of(made: datetime, version: str = __version__) -> str:
    """Version of the program and the time, "MAJOR.MINOR.PATCH.SECONDS": four numbers, compared from the left.

    An older program is older whatever its artifact; of one program, an older artifact is. A device refuses
    what is older than what it runs. Of the version only the release counts: 1.0rc1 is 1.0.0 here (PEP 440).
    """
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = release.group().split(".")[:3] if release else []
    return ".".join([*numbers, *"0" * (3 - len(numbers)), str(int(made.timestamp()))])


def release_json(
    name: str, board: Board, manifest: Manifest, made: datetime, sizes: dict[str, int]
) -> dict[str, Any]:
    """The content of `release.json`.

    Args:
        name: of the bundle.
        board: what it is made for.
        manifest: of the artifact in it.
        made: see `made_at`.
        sizes: part -> bytes, unpacked.
    """
    images = manifest.calibration.get("images", [])
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        # verify-and-install.sh reads this line.
        "serial": serial_of(made),
        "made": made.astimezone(timezone.utc).isoformat(timespec="seconds"),
        "made_by": f"bisenet-edge {__version__}",
        "board": board.name,
        "artifact": {
            "name": manifest.name,
            "model": manifest.model,
            "created": manifest.created,
            "size": str(manifest.size),
            "classes": list(manifest.labels.names),
            "precision": manifest.precision,
            "files": manifest.files,
        },
        "contract": {"input": INPUT_SPEC, "output": OUTPUT_SPEC},
        "parent": manifest.parent,
        # Names and hashes of the pictures stand in the artifact's manifest.
        "calibration": {**manifest.calibration, "images": len(images)} if manifest.calibration else {},
        "accuracy": {key: value for key, value in manifest.measured.items() if key != "machine"},
        "licences": {"program": _LICENCE, "text": "LICENSE", "weights": weight_terms(manifest)},
        "sbom": "sbom.cdx.json",
        "size_bytes": sizes,
    }


def weight_terms(manifest: Manifest) -> dict[str, str]:
    """Data that the weights were trained on -> what that means for using them."""
    data = manifest.parent.get("recipe", {}).get("data", [])
    unknown = "the terms of these data; bisenet-edge does not know them"
    return {str(uri): _DATA_TERMS.get(str(uri).split(":", maxsplit=1)[0], unknown) for uri in data}
