"""Engines on disk.

    CACHE/NAME-MODELS/            one folder per artifact: its name, and a hash over its model files
        int8.json                 the record of the engine that is active: key, checksum, what was made of it
        int8-SHA.plan             its plan
        fp16.json, fp16-SHA.plan
        choice.json               which of them runs by default, and why
    CACHE/timing/GPU-TENSORRT.cache   measurements of kernels, which make the next build shorter

A record is replaced in one step and names its plan by checksum: whoever reads sees the old engine or the
new one, whole. An engine whose record cannot be trusted is rebuilt, and the reasons are told.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import SinkError
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.cache_folder import default_cache

SCHEMA_VERSION = 1
FACTS = ("built", "build_s", "notes", "selftest", "layers")
"""What a record holds beside its key and checksum."""


@dataclass(frozen=True)
class EngineKey:
    """What an engine is good for. Another value in any field needs another engine.

    Attributes:
        model_sha256: of the ONNX file it is built from.
        gpu: name of the GPU.
        compute_capability: "8.7".
        tensorrt: version, "10.3.0".
        precision: "int8", "fp16" or "fp32".
        typing: "strong" or "weak".
        size: of the frames, "640x360".
        opt_level: of the builder; None = any will do.
        workspace_mb: limit that the builder was given; None = any will do.
        compiler: "tensorrt" from ONNX, or "torch-tensorrt"; None = any will do.
    """

    model_sha256: str
    gpu: str
    compute_capability: str
    tensorrt: str
    precision: str
    typing: str
    size: str
    opt_level: Optional[int]
    workspace_mb: Optional[int]
    compiler: Optional[str] = None

    def reasons_against(self, found: Dict[str, Any]) -> List[str]:
        """Why an engine with the key `found` cannot serve; empty when it can."""
        words = {
            "model_sha256": "the model has changed",
            "gpu": "built on {found}, this is {wanted}",
            "compute_capability": "built for compute capability {found}, this is {wanted}",
            "tensorrt": "built for TensorRT {found}, this is {wanted}",
            "precision": "built in {found}, wanted {wanted}",
            "typing": "built with {found} typing, wanted {wanted}",
            "size": "built for {found}, wanted {wanted}",
            "opt_level": "built with --opt-level {found}, wanted {wanted}",
            "compiler": "built by {found}, wanted {wanted}",
            "workspace_mb": "built with --workspace-mb {found}, wanted {wanted}",
        }
        differ = {n: w for n, w in asdict(self).items() if w is not None and found.get(n) != w}
        return [
            words[name].format(found=found.get(name) or "the default", wanted=wanted)
            for name, wanted in differ.items()
        ]


@dataclass(frozen=True)
class Stored:
    """An engine that is active.

    Attributes:
        plan: its file.
        data: what the file holds.
        record: key, sha256, and what was found out when it was built.
    """

    plan: Path
    record: Dict[str, Any]
    data: bytes = field(repr=False, compare=False)


class EngineStore:
    """The engines of one artifact on one device."""

    def __init__(self, artifact: Artifact, cache: Optional[Path] = None) -> None:
        self.cache = cache or default_cache()
        files = artifact.manifest.files
        models = "".join(f"{name}{files[name]}" for name in sorted(files) if name.endswith(".onnx"))
        digest = hashlib.sha256(models.encode()).hexdigest()[:12]
        self.folder = self.cache / f"{_slug(artifact.manifest.name)}-{digest}"

    def find(self, key: EngineKey) -> Tuple[Optional[Stored], List[str]]:
        """The active engine of a precision if it serves, else why not.

        Returns:
            (engine, []), or (None, reasons); (None, []) where none was ever built.
        """
        try:
            record = json.loads(self._record(key.precision).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, []
        except (OSError, ValueError) as error:
            return None, [f"its record cannot be read ({error})"]
        if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
            return None, ["its record is of another version of bisenet-edge"]
        if not isinstance(record.get("key"), dict) or not set(FACTS) <= set(record):
            return None, ["its record lacks something"]
        reasons = key.reasons_against(record["key"])
        if reasons:
            return None, reasons
        plan = self._plan(key.precision, str(record.get("sha256")))
        data, reasons = _read(plan, str(record.get("sha256")))
        return (None, reasons) if reasons else (Stored(plan, record, data), [])

    def activate(self, key: EngineKey, plan: bytes, facts: Dict[str, Any]) -> Stored:
        """Write an engine and make it the active one of its precision; the one before is removed.

        Args:
            key: what it is good for.
            plan: its bytes.
            facts: what was found out when it was built, in plain JSON values.

        Raises:
            SinkError: the cache cannot be written.
        """
        digest = hashlib.sha256(plan).hexdigest()
        path = self._plan(key.precision, digest)
        write_whole(path, plan)
        record = {"schema_version": SCHEMA_VERSION, "key": asdict(key), "sha256": digest, **facts}
        write_whole(self._record(key.precision), _json(record))
        for other in self.folder.glob(f"{key.precision}-*.plan"):
            if other != path:
                # Whoever runs it has read it.
                with suppress(OSError):
                    other.unlink()
        return Stored(path, record, plan)

    def read_choice(self, gpu: str, tensorrt: str) -> Dict[str, Any]:
        """What `write_choice` wrote, if it was on this GPU; else empty.

        It outlives an update of TensorRT, whose engines are built anew: until they are timed again, what was
        faster is the best guess, and the reason says so.
        """
        try:
            choice = json.loads((self.folder / "choice.json").read_text(encoding="utf-8"))
            known = choice["gpu"] == gpu and choice["chosen"] in ("int8", "fp16")
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        if not known:
            return {}
        if choice["tensorrt"] != tensorrt:
            choice["reason"] += f" (with TensorRT {choice['tensorrt']}; not timed with {tensorrt} yet)"
        return dict(choice)

    def write_choice(self, chosen: str, reason: str, gpu: str, tensorrt: str) -> None:
        """Remember which precision runs by default, and on what that was found out."""
        choice = {"chosen": chosen, "reason": reason, "gpu": gpu, "tensorrt": tensorrt}
        write_whole(self.folder / "choice.json", _json(choice))

    def timing_cache(self, gpu: str, tensorrt: str) -> Path:
        """File of kernel measurements for a device and a TensorRT."""
        return self.cache / "timing" / f"{_slug(gpu)}-{tensorrt}.cache"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One builder at a time: two would share the memory of a small device.

        Raises:
            SinkError: the cache cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Never through a link: root builds in folders that a service may write.
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.fdopen(os.open(self.folder / "lock", flags, 0o644), "w")
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _record(self, precision: str) -> Path:
        return self.folder / f"{precision}.json"

    def _plan(self, precision: str, digest: str) -> Path:
        return self.folder / f"{precision}-{digest[:16]}.plan"


def _read(plan: Path, digest: str) -> Tuple[bytes, List[str]]:
    """(its bytes, why they cannot be used)."""
    try:
        data = plan.read_bytes()
    except OSError as error:
        return b"", [f"its file cannot be read ({error.strerror})"]
    if hashlib.sha256(data).hexdigest() != digest:
        return b"", ["its file has changed since it was written (checksum differs)"]
    return data, []


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: readers see the old one or the new one.

    Raises:
        SinkError: it cannot be written.
    """
    with replace_when_written(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> SinkError:
    return SinkError(
        "an engine cannot be stored",
        got=f"{path}: {error.strerror}",
        expected="a folder that can be written, with space for the engine",
        fix="name another one: export BISENET_EDGE_CACHE=DIR",
    )


def _json(value: Dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "unnamed"
