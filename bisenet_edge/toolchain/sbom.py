"""The bill of materials of a bundle, in CycloneDX 1.5 JSON: what is in it, and what the device must have.

Source: the CycloneDX specification, https://cyclonedx.org/docs/1.5/json/. No serial number and no time of
packing: the same bundle has the same bill.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from bisenet_edge import __version__
from bisenet_edge.artifact import Manifest
from bisenet_edge.toolchain.release import weight_terms

SBOM = "sbom.cdx.json"
REQUIRED, OPTIONAL = "required", "optional"


@dataclass(frozen=True)
class OnDevice:
    """Something that the program imports and that the device brings along; none of it is in a bundle.

    Attributes:
        name: as its makers call it.
        modules: names that Python imports.
        licence: SPDX id or a choice of two, or a name where SPDX has none.
        scope: "required", or "optional": an engine of several, or an aid.
        why: what for.
    """

    name: str
    modules: tuple[str, ...]
    licence: str
    scope: str
    why: str


ON_DEVICE = (
    OnDevice("CPython", (), "PSF-2.0", REQUIRED, "3.8 or newer; runs the program"),
    OnDevice("NumPy", ("numpy",), "BSD-3-Clause", REQUIRED, "arrays"),
    OnDevice("OpenCV", ("cv2",), "Apache-2.0", REQUIRED, "4.5 or newer; images, videos, cameras"),
    OnDevice("TensorRT", ("tensorrt",), "NVIDIA TensorRT SLA", OPTIONAL, "engine of the GPU, from JetPack"),
    OnDevice("CUDA runtime", (), "NVIDIA CUDA Toolkit EULA", OPTIONAL, "with TensorRT, from JetPack"),
    OnDevice("OpenVINO", ("openvino",), "Apache-2.0", OPTIONAL, "engine of a CPU"),
    OnDevice("ONNX Runtime", ("onnxruntime",), "MIT", OPTIONAL, "engine of a CPU"),
    OnDevice("ONNX", ("onnx",), "Apache-2.0", OPTIONAL, "with ONNX Runtime: prepares its graph"),
    OnDevice("protobuf", ("google",), "BSD-3-Clause", OPTIONAL, "with ONNX"),
    OnDevice("GStreamer", (), "LGPL-2.1-or-later", OPTIONAL, "CSI cameras, hardware decoding"),
    OnDevice("PyGObject", ("gi",), "LGPL-2.1-or-later", OPTIONAL, "with GStreamer"),
    OnDevice("Eclipse Paho MQTT", ("paho",), "EPL-2.0 OR BSD-3-Clause", OPTIONAL, "masks to a broker"),
    OnDevice(
        "jetson-stats", ("jtop",), "AGPL-3.0-or-later", OPTIONAL, "power, only if the user installed it"
    ),
)
_NO_SPDX_ID = ("NVIDIA TensorRT SLA", "NVIDIA CUDA Toolkit EULA")


def bill(
    name: str, manifest: Manifest, made: datetime, modules: dict[str, bytes], files: dict[str, str]
) -> dict[str, Any]:
    """Write the bill.

    Args:
        name: of the bundle.
        manifest: of the artifact in it.
        made: when the release counts as made.
        modules: path in the device program -> content.
        files: path in the bundle -> SHA-256, of all files but this one and the checksums.
    """
    inside = [
        _program(modules, files),
        _model(manifest),
        *(_file(path, digest) for path, digest in sorted(files.items())),
    ]
    outside = [_on_device(part) for part in ON_DEVICE]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": made.astimezone(timezone.utc).isoformat(timespec="seconds"),
            "tools": {
                "components": [{"type": "application", "name": "bisenet-edge", "version": __version__}]
            },
            "component": {"type": "application", "bom-ref": "bundle", "name": name, "version": __version__},
        },
        "components": inside + outside,
        "dependencies": [
            {"ref": "bundle", "dependsOn": [part["bom-ref"] for part in inside]},
            {"ref": "program", "dependsOn": [part["bom-ref"] for part in outside]},
        ],
    }


def _program(modules: dict[str, bytes], files: dict[str, str]) -> dict[str, Any]:
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in modules.items()}
    return {
        "type": "application",
        "bom-ref": "program",
        "name": "bisenet-edge",
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [_hash(files["bisenet-edge.pyz"])],
        "components": [_file(path, digest, "program:") for path, digest in sorted(digests.items())],
    }


def _model(manifest: Manifest) -> dict[str, Any]:
    terms = [
        {"name": f"weights trained on {data}", "value": text} for data, text in weight_terms(manifest).items()
    ]
    parent = manifest.parent.get("sha256")
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "version": manifest.created,
        "description": f"{manifest.model}, {manifest.size}, {manifest.precision}",
        "properties": [
            *terms,
            *([{"name": "checkpoint sha256", "value": str(parent)}] if parent else []),
            *({"name": f"made with {tool}", "value": str(v)} for tool, v in sorted(manifest.tools.items())),
        ],
    }


def _on_device(part: OnDevice) -> dict[str, Any]:
    key = "name" if part.licence in _NO_SPDX_ID else "id"
    licence = {"expression": part.licence} if " OR " in part.licence else {"license": {key: part.licence}}
    return {
        "type": "library",
        "bom-ref": f"device:{part.name}",
        "name": part.name,
        "description": part.why,
        "scope": part.scope,
        "licenses": [licence],
        "properties": [{"name": "in this bundle", "value": "no: the device must have it"}],
    }


def _file(path: str, digest: str, prefix: str = "file:") -> dict[str, Any]:
    return {"type": "file", "bom-ref": prefix + path, "name": path, "hashes": [_hash(digest)]}


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
