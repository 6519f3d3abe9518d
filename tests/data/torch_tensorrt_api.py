"""What we rely on of Torch-TensorRT's interface; writes torch-tensorrt-api/VERSION.json beside this file.

Read from the sources in the published wheels, by `ast`: nothing is imported, no GPU is needed.

    pip download --no-deps --only-binary=:all: --python-version 3.12 \\
        --platform manylinux_2_28_x86_64 --platform manylinux_2_34_x86_64 -d WHEELS torch-tensorrt==2.13.0
    python tests/data/torch_tensorrt_api.py WHEELS/*.whl

Recorded are parameters with their defaults, the fields of the compilation settings, which import the
converter of `quantize_op` needs, the types that Torch-TensorRT's own converter casts to, and what the wheel
requires.
"""

from __future__ import annotations

import argparse
import ast
import email
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().with_name("torch-tensorrt-api")
FUNCTIONS = {
    "dynamo.convert_exported_program_to_serialized_trt_engine": "dynamo/_compiler.py",
    "dynamo.compile": "dynamo/_compiler.py",
    "save": "_compile.py",
    "load": "_compile.py",
    "dynamo.conversion.dynamo_tensorrt_converter": "dynamo/conversion/_ConverterRegistry.py",
}
CLASSES = {"dynamo.CompilationSettings": "dynamo/_settings.py", "Device": "_Device.py"}
CONVERTERS = "dynamo/conversion/aten_ops_converters.py"
FOLDING = "dynamo/lowering/passes/constant_folding.py"
INTERPRETER = "dynamo/conversion/_TRTInterpreter.py"
DEFAULTS = "dynamo/_defaults.py"
QUANTIZE = "torch.ops.tensorrt.quantize_op.default"


class Wheel:
    """The sources of one wheel."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = zipfile.ZipFile(path)
        (name,) = [n for n in self.archive.namelist() if n.endswith(".dist-info/METADATA")]
        self.metadata = email.message_from_bytes(self.archive.read(name))

    def module(self, relative: str) -> ast.Module:
        return ast.parse(self.archive.read(f"torch_tensorrt/{relative}"))


def definition(module: ast.Module, name: str, kind: type[ast.AST]) -> Any:
    (found,) = [n for n in module.body if isinstance(n, kind) and getattr(n, "name", "") == name]
    return found


def parameters(function: ast.FunctionDef) -> dict[str, Any]:
    """Parameters by kind: name -> default as source text, None where it must be given."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    padded = [None] * (len(named) - len(arguments.defaults)) + list(arguments.defaults)
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults)
    return {
        "positional": {a.arg: default and ast.unparse(default) for a, default in zip(named, padded)},
        "keyword": {a.arg: default and ast.unparse(default) for a, default in keywords},
        "swallows_others": arguments.kwarg is not None,
    }


def fields(found: ast.ClassDef) -> dict[str, str | None]:
    """Annotated class attributes with their defaults."""
    return {
        n.target.id: n.value and ast.unparse(n.value)
        for n in found.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }


def imports(nodes: list[ast.stmt]) -> list[str]:
    return [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]


def tries(module: ast.AST) -> Iterator[ast.Try]:
    return (n for n in ast.walk(module) if isinstance(n, ast.Try))


def quantize_converter(wheel: Wheel) -> dict[str, Any]:
    """The converter stands in the `else` of a `try` that imports ModelOpt."""
    (found,) = [
        (t, f)
        for t in tries(wheel.module(CONVERTERS))
        for f in t.orelse
        if isinstance(f, ast.FunctionDef) and QUANTIZE in ast.unparse(f.decorator_list[0])
    ]
    (excluding,) = [
        t for t in tries(wheel.module(FOLDING)) if f"quantization_ops.add({QUANTIZE})" in ast.unparse(t)
    ]
    return {
        "target": QUANTIZE,
        "converter": found[1].name,
        "needs_import": imports(found[0].body),
        "kept_from_folding_needs_import": imports(excluding.body),
        "kept_from_folding_needs_operators": sorted(
            ast.unparse(n.test) for n in excluding.body if isinstance(n, ast.Assert)
        ),
    }


def allowed_casts(wheel: Wheel) -> list[str]:
    (found,) = [
        n.value
        for n in ast.walk(wheel.module(CONVERTERS))
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "allowed_casts"
    ]
    return sorted(ast.unparse(item) for item in found.elts)


def constant(wheel: Wheel, name: str) -> str | None:
    for node in wheel.module(DEFAULTS).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.unparse(node.value)
    return None


def output_name(wheel: Wheel) -> str:
    (found,) = set(re.findall(r'name = f"(output\{i\})"', ast_source(wheel, INTERPRETER)))
    return str(found).replace("{i}", "0")


def ast_source(wheel: Wheel, relative: str) -> str:
    return wheel.archive.read(f"torch_tensorrt/{relative}").decode()


def listing(path: Path) -> dict[str, Any]:
    wheel = Wheel(path)
    functions = {
        name: parameters(definition(wheel.module(file), name.rsplit(".", 1)[-1], ast.FunctionDef))
        for name, file in FUNCTIONS.items()
    }
    requires = wheel.metadata.get_all("Requires-Dist") or []
    return {
        "made_by": "tests/data/torch_tensorrt_api.py",
        "version": wheel.metadata["Version"],
        "wheel": path.name,
        "requires_python": wheel.metadata["Requires-Python"],
        "requires": [r for r in requires if re.match(r"(torch|tensorrt|tensorrt-cu13)[ <>=!;]", r)],
        "functions": functions,
        "classes": {
            name: fields(definition(wheel.module(file), name.rsplit(".", 1)[-1], ast.ClassDef))
            for name, file in CLASSES.items()
        },
        "explicit_typing_by_default": constant(wheel, "USE_EXPLICIT_TYPING"),
        "quantize_op": quantize_converter(wheel),
        "to_copy_casts_to": allowed_casts(wheel),
        "output_name": output_name(wheel),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="+", type=Path)
    FOLDER.mkdir(exist_ok=True)
    for path in parser.parse_args().wheels:
        made = listing(path)
        text = json.dumps(made, indent=1)
        (FOLDER / f"{made['version']}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
