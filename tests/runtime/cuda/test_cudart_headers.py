"""Our signatures and numbers are those of NVIDIA's headers of all three majors."""

from __future__ import annotations

import json
from ctypes import c_int, c_void_p

import pytest
from cudart_headers import NUMBERS, RECORD, ctypes_of, read_headers

from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.discovery import wheel_folders

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


def check(headers):
    functions = {name: ctypes_of(signature) for name, signature in headers["functions"].items()}
    assert functions.pop("cudaGetDeviceProperties") == (symbols.PROPERTIES_ARGUMENTS, c_int)
    ours = {name: (arguments, c_int) for name, arguments in symbols.CALLS.items()}
    ours.update({name: (arguments, symbols.TEXT) for name, arguments in symbols.TEXTS.items()})
    assert functions == ours
    assert headers["numbers"] == NUMBERS
    assert headers["properties"] == f"char name[{symbols.NAME_BYTES}]"


@pytest.mark.parametrize("headers", RECORDED, ids=lambda headers: headers["version"])
def test_the_signatures_recorded_from_each_major_are_ours(headers):
    check(headers)


def test_all_majors_are_recorded():
    assert [headers["version"].split(".")[0] for headers in RECORDED] == ["11", "12", "13"]


def test_the_headers_that_are_installed_say_what_is_recorded():
    folders = [folder.parent / "include" for folder in wheel_folders()]
    found = [folder for folder in folders if (folder / "cuda_runtime_api.h").is_file()]
    if not found:
        pytest.skip("no cuda_runtime_api.h from a wheel: pip install 'nvidia-cuda-runtime>=13,<14'")
    for folder in found:
        headers = read_headers(folder)
        check(headers)
        recorded = {record["version"].split(".")[0]: record for record in RECORDED}
        assert headers["functions"] == recorded[headers["version"].split(".")[0]]["functions"]


def test_a_signature_that_differs_would_be_noticed():
    changed = json.loads(RECORD.read_text(encoding="utf-8"))[0]
    changed["functions"]["cudaMalloc"] = "void**, unsigned int -> enum"
    with pytest.raises(AssertionError):
        check(changed)
    assert ctypes_of("handle, void* -> enum") == ((c_void_p, c_void_p), c_int)
