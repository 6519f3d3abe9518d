"""Reads the signatures of our functions, and the numbers they take, out of NVIDIA's headers.

    python tests/runtime/cuda/cudart_headers.py FOLDER_WITH_HEADERS ... > tests/data/cudart-signatures.json

The wheels of CUDA 11 and 12 have their headers at the same path, so that pip leaves one of the two there.
What was read off all three majors is therefore kept in that file, and what is installed is read again.
"""

from __future__ import annotations

import json
import re
import sys
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path
from typing import Any

from bisenet_edge.runtime.cuda import symbols

RECORD = Path(__file__).resolve().parents[2] / "data" / "cudart-signatures.json"
FUNCTIONS = (*symbols.CALLS, *symbols.TEXTS, "cudaGetDeviceProperties")
NUMBERS = {
    "cudaSuccess": symbols.SUCCESS,
    "cudaErrorMemoryAllocation": symbols.OUT_OF_MEMORY,
    "cudaErrorInsufficientDriver": symbols.INSUFFICIENT_DRIVER,
    "cudaErrorNoDevice": symbols.NO_DEVICE,
    "cudaErrorNotReady": symbols.NOT_READY,
    "cudaDevAttrMultiProcessorCount": symbols.MULTIPROCESSORS,
    "cudaDevAttrIntegrated": symbols.INTEGRATED,
    "cudaDevAttrCanMapHostMemory": symbols.CAN_MAP_HOST_MEMORY,
    "cudaDevAttrComputeCapabilityMajor": symbols.COMPUTE_CAPABILITY_MAJOR,
    "cudaDevAttrComputeCapabilityMinor": symbols.COMPUTE_CAPABILITY_MINOR,
    "cudaHostAllocDefault": symbols.HOST_ALLOC_DEFAULT,
    "cudaHostAllocMapped": symbols.HOST_ALLOC_MAPPED,
    "cudaStreamNonBlocking": symbols.STREAM_NON_BLOCKING,
    "cudaEventDefault": symbols.EVENT_DEFAULT,
    "cudaEventDisableTiming": symbols.EVENT_DISABLE_TIMING,
    "cudaMemcpyHostToDevice": symbols.HOST_TO_DEVICE,
    "cudaMemcpyDeviceToHost": symbols.DEVICE_TO_HOST,
    "cudaStreamCaptureModeThreadLocal": symbols.CAPTURE_THREAD_LOCAL,
}
"""CUDA's name -> our number."""

PLAIN: dict[str, Any] = {
    "int": c_int,
    "unsigned int": c_uint,
    "unsigned long long": c_ulonglong,
    "size_t": c_size_t,
    "float": c_float,
    "void*": c_void_p,
    "char*": c_char_p,
    "handle": c_void_p,
    "enum": c_int,
    "struct*": c_void_p,
}


def read_headers(folder: Path) -> dict[str, Any]:
    """What a folder with cuda_runtime_api.h and driver_types.h says.

    Returns:
        version "11.8"; functions: name -> its signature in plain types, "handle*, int -> enum";
        numbers: name -> value; properties: first member of cudaDeviceProp.
    """
    api = _without_comments(folder / "cuda_runtime_api.h")
    types = _without_comments(folder / "driver_types.h")
    number = int(re.search(r"#define CUDART_VERSION\s+(\d+)", api)[1])
    functions = {}
    for name in FUNCTIONS:
        found = re.search(rf"extern ([^;]*?)\bCUDARTAPI {name}\(([^;]*?)\);", api)
        arguments = [a.strip() for a in re.sub(r"__dv\([^)]*\)", "", found[2]).split(",")]
        named = [] if arguments == ["void"] else [re.sub(r"\w+$", "", a) for a in arguments]
        plain = ", ".join(_plain(text, types) for text in named)
        functions[name] = f"{plain} -> {_plain(found[1], types)}"
    numbers = {name: _number(name, types) for name in NUMBERS}
    properties = re.search(r"struct (?:\w+ )?cudaDeviceProp\s*\{\s*([^;]*);", types)[1]
    return {
        "version": f"{number // 1000}.{number % 1000 // 10}",
        "functions": functions,
        "numbers": numbers,
        "properties": " ".join(properties.split()),
    }


def ctypes_of(signature: str) -> tuple[tuple[Any, ...], Any]:
    """(argument types, result type) of a signature."""
    arguments, result = signature.split(" -> ")
    return tuple(_ctype(plain) for plain in arguments.split(", ") if plain), _ctype(result)


def _ctype(plain: str) -> Any:
    if plain in PLAIN:
        return PLAIN[plain]
    assert plain.endswith("*"), plain
    return POINTER(_ctype(plain[:-1]))


def _without_comments(path: Path) -> str:
    return re.sub(
        r"/\*.*?\*/|//[^\n]*", "", path.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL
    )


def _plain(text: str, types: str) -> str:
    """'enum cudaMemcpyKind ' -> 'enum', 'cudaStream_t *' -> 'handle*', 'const void *' -> 'void*'."""
    text = re.sub(r"\b(const|__host__|__cudart_builtin__)\b", "", text)
    base, stars = re.fullmatch(r"([\w ]+?)\s*(\**)\s*", " ".join(text.split())).groups()
    if base == "cudaError_t" or base.startswith("enum "):
        base = "enum"
    elif base.startswith("struct "):
        base = "struct"
    elif base.endswith("_t") and base != "size_t":
        assert re.search(rf"typedef [^;]*struct \w+ ?\* ?{base};", types), f"{base} is no pointer"
        base = "handle"
    return base + stars


def _number(name: str, types: str) -> int:
    return int(re.search(rf"(?:#define\s+{name}\s+|\b{name}\s*=\s*)(0x[0-9a-fA-F]+|\d+)", types)[1], 0)


if __name__ == "__main__":
    print(json.dumps([read_headers(Path(folder)) for folder in sys.argv[1:]], indent=1))
