"""A stand-in for `torch_tensorrt`, made of a version's listing: it takes what the real one names, no more.

The real package needs a GPU to be imported, and swallows keywords that it does not know. Beside it stands an
empty `modelopt`. (These tests have no folder of their own: one named torch_tensorrt would be importable.)
"""

from __future__ import annotations

import importlib.machinery
import inspect
import json
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from bisenet_edge.toolchain.torch_tensorrt.converter import register_cast_to_uint8
from bisenet_edge.toolchain.torch_tensorrt.releases import Installed, dotted, parse

LISTINGS = Path(__file__).resolve().parents[1] / "data" / "torch-tensorrt-api"
VERSIONS = sorted((path.stem for path in LISTINGS.glob("*.json")), key=parse)
TO_PLAN = "dynamo.convert_exported_program_to_serialized_trt_engine"
TO_MODULE = "dynamo.compile"
REGISTER = "dynamo.conversion.dynamo_tensorrt_converter"
ENGINE = b"plan of the double"


def listing(version: str) -> dict[str, Any]:
    return json.loads((LISTINGS / f"{version}.json").read_text(encoding="utf-8"))


def signature(version: str, function: str) -> inspect.Signature:
    """The recorded signature, less the `**kwargs` that swallows everything else."""
    recorded = listing(version)["functions"][function]
    kinds = {
        "positional": inspect.Parameter.POSITIONAL_OR_KEYWORD,
        "keyword": inspect.Parameter.KEYWORD_ONLY,
    }
    return inspect.Signature(
        [
            inspect.Parameter(name, kind, default=inspect.Parameter.empty if default is None else default)
            for group, kind in kinds.items()
            for name, default in recorded[group].items()
        ]
    )


def installed(version: str, **changes: Any) -> Installed:
    """A machine on which everything goes with a release."""
    from bisenet_edge.toolchain.torch_tensorrt.releases import RELEASES

    (release,) = [r for r in RELEASES if dotted(r.version) == version]
    fitting = {
        "torch": dotted(release.torch.least) + ".0",
        "torch_tensorrt": version,
        "tensorrt": dotted(release.tensorrt.least),
        "jetson": False,
        "architecture": "x86_64",
    }
    return Installed(**{**fitting, **changes})


class Double:
    """One version of the package, and what it was called with."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.calls: dict[str, inspect.BoundArguments] = {}
        self.converters: set[Any] = {torch.ops.tensorrt.quantize_op.default}
        self.registered: list[Any] = []
        self.in_torch = False
        self.plan = ENGINE

    def called(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.calls[function] = signature(self.version, function).bind(*args, **kwargs)

    def to_plan(self, *args: Any, **kwargs: Any) -> bytes:
        self.called(TO_PLAN, args, kwargs)
        return self.plan

    def to_module(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        self.called(TO_MODULE, args, kwargs)
        if "dryrun" in kwargs:
            Path(kwargs["dryrun"]).write_text("report of the double", encoding="utf-8")
        module = torch.nn.Module()
        module.add_module("_run_on_acc_0", torch.nn.Identity())
        if self.in_torch:
            module.add_module("_run_on_gpu_1", torch.nn.Identity())
        return module

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.called("save", args, kwargs)
        Path(args[1]).write_bytes(b"program of the double")

    def register(self, *args: Any, **kwargs: Any) -> Any:
        self.called(REGISTER, args, kwargs)
        return self.registered.append

    def modules(self) -> dict[str, types.ModuleType]:
        def module(name: str, **content: Any) -> types.ModuleType:
            made = types.ModuleType(name)
            made.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
            made.__path__ = []
            vars(made).update(content)
            return made

        priority = Enum("ConverterPriority", ["STANDARD", "HIGH"])
        conversion = module(
            "torch_tensorrt.dynamo.conversion",
            dynamo_tensorrt_converter=self.register,
            ConverterPriority=priority,
            DYNAMO_CONVERTERS=self.converters,
        )
        to_plan, to_module = TO_PLAN.rsplit(".", 1)[-1], TO_MODULE.rsplit(".", 1)[-1]
        content = {to_plan: self.to_plan, to_module: self.to_module, "conversion": conversion}
        dynamo = module("torch_tensorrt.dynamo", **content)
        made = [
            conversion,
            dynamo,
            module("torch_tensorrt", __version__=self.version, dynamo=dynamo, save=self.save),
            module("modelopt"),
            module("modelopt.torch"),
            module("modelopt.torch.quantization"),
        ]
        return {m.__name__: m for m in made}


def install(version: str, monkeypatch: Any) -> Double:
    """Put the double where `import torch_tensorrt` finds it, until the test ends."""
    from bisenet_edge.toolchain.torch_tensorrt import compiler, quantize_op

    quantize_op.operator()
    # The other operator that the real ModelOpt defines.
    monkeypatch.setattr(torch.ops.tensorrt, "dynamic_block_quantize_op", object(), raising=False)
    double = Double(version)
    for name, module in double.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(compiler, "gpu", lambda: "cpu")
    register_cast_to_uint8.cache_clear()
    return double
