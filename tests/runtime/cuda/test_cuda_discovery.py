"""Which libcudart is chosen, with loading replaced by doubles."""

from __future__ import annotations

from pathlib import Path

import pytest
from cudart_double import NO_DRIVER, CudartDouble

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import CudaError, CudaRuntime, discovery

VARIABLE = "BISENET_EDGE_CUDART"


class Machine:
    """Paths that can be loaded, each with a double (or the error of the loader), and what was tried."""

    def __init__(self, **libraries):
        self.libraries = libraries
        self.tried = []

    def load(self, path):
        self.tried.append(path)
        found = self.libraries.get(Path(path).name) if "/" not in path else self.libraries.get(path)
        if found is None:
            raise OSError(f"{path}: cannot open shared object file")
        if isinstance(found, str):
            raise OSError(found)
        return found


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Nothing is loaded, told or installed."""
    machine = Machine()
    monkeypatch.setattr(discovery, "_load", machine.load)
    monkeypatch.setattr(discovery, "loaded_libraries", list)
    monkeypatch.setattr(discovery, "wheel_folders", lambda: [tmp_path / "wheels"])
    monkeypatch.setattr(discovery, "_cuda_folders", lambda: [tmp_path / "cuda"])
    monkeypatch.delenv(VARIABLE, raising=False)
    machine.folder = tmp_path
    return machine


def put(machine, path, library):
    """A file, which loads as `library`."""
    file = machine.folder / path
    file.parent.mkdir(exist_ok=True)
    file.touch()
    machine.libraries[str(file)] = library
    return str(file)


def test_the_newest_major_is_chosen_wherever_it_is(machine):
    machine.libraries["libcudart.so.12"] = CudartDouble(12, driver=(13, 0))
    put(machine, "cuda/libcudart.so.11.0", CudartDouble(11, driver=(13, 0)))
    newest = put(machine, "wheels/libcudart.so.13", CudartDouble(13))
    assert discovery.find_cudart().path == newest


def test_within_a_major_cuda_comes_before_the_loader_and_the_wheels(machine):
    wheel = put(machine, "wheels/libcudart.so.12", CudartDouble(12))
    assert discovery.find_cudart().path == wheel
    machine.libraries["libcudart.so.12"] = CudartDouble(12)
    assert discovery.find_cudart().path == "libcudart.so.12"
    toolkit = put(machine, "cuda/libcudart.so.12", CudartDouble(12))
    assert discovery.find_cudart().path == toolkit


def test_a_library_that_the_process_has_loaded_comes_first(machine, monkeypatch):
    put(machine, "cuda/libcudart.so.13", CudartDouble(13))
    loaded = put(machine, "torch/libcudart.so.12", CudartDouble(12))
    monkeypatch.setattr(discovery, "loaded_libraries", lambda: [loaded])
    assert discovery.find_cudart().path == loaded


def test_a_library_that_the_driver_does_not_serve_gives_way_to_an_older_one(machine):
    put(machine, "wheels/libcudart.so.13", CudartDouble(13, driver=(12, 6)))
    served = put(machine, "cuda/libcudart.so.12", CudartDouble(12, driver=(12, 6)))
    assert discovery.find_cudart().path == served
    with CudaRuntime.open() as cuda:
        assert cuda.library == served


def test_a_library_that_is_too_old_gives_way(machine):
    old = CudartDouble(12)
    del old.cudaGraphInstantiateWithFlags
    put(machine, "cuda/libcudart.so.12", old)
    good = put(machine, "wheels/libcudart.so.11.0", CudartDouble(11))
    assert discovery.find_cudart().path == good
    del machine.libraries[good]
    with pytest.raises(BackendError, match="lacks functions"):
        discovery.find_cudart()


def test_without_a_driver_the_newest_library_says_so(machine):
    newest = put(machine, "wheels/libcudart.so.13", CudartDouble(13, driver=NO_DRIVER))
    put(machine, "cuda/libcudart.so.12", CudartDouble(12, driver=NO_DRIVER))
    with pytest.raises(CudaError) as caught:
        CudaRuntime.open()
    assert f"no driver, {newest} is CUDA 13.2" in caught.value.got


def test_when_there_is_none_the_error_says_where_it_was_looked_for_and_what_to_install(machine):
    with pytest.raises(BackendError, match="no CUDA runtime library") as caught:
        CudaRuntime.open()
    error = caught.value
    assert error.got == "none"
    for looked in ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "/cuda", "/wheels"):
        assert looked in error.expected
    assert "apt install nvidia-jetpack" in error.fix
    assert "pip install nvidia-cuda-runtime-cu12" in error.fix
    assert machine.tried == ["libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"]


def test_a_library_that_does_not_load_is_told_with_the_reason(machine):
    path = put(machine, "cuda/libcudart.so.12", "wrong ELF class")
    with pytest.raises(BackendError) as caught:
        discovery.find_cudart()
    assert caught.value.got == f"found but not loadable: {path} (wrong ELF class)"


def test_a_library_that_is_told_is_the_only_one_tried(machine, monkeypatch):
    put(machine, "cuda/libcudart.so.13", CudartDouble(13))
    told = put(machine, "mine/libcudart.so.12", CudartDouble(12))
    monkeypatch.setenv(VARIABLE, told)
    assert discovery.find_cudart().path == told
    monkeypatch.setenv(VARIABLE, "/nowhere/libcudart.so.12")
    with pytest.raises(BackendError, match=VARIABLE) as caught:
        discovery.find_cudart()
    assert caught.value.got == "/nowhere/libcudart.so.12 (no such file)"
    assert caught.value.fix == f"unset {VARIABLE}"
    assert machine.tried == [told, "/nowhere/libcudart.so.12"]


def test_loaded_libraries_are_read_from_the_kernels_list(tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 00000000 08:01 1   /venv/torch/lib/libcudart-d0da41ae.so.11.0\n"
        "7f01-7f02 r--p 00001000 08:01 1   /venv/torch/lib/libcudart-d0da41ae.so.11.0\n"
        "7f03-7f04 r-xp 00000000 08:01 2   /usr/local/cuda-12.6/lib64/libcudart.so.12.6.68\n"
        "7f05-7f06 r-xp 00000000 08:01 3   /usr/lib/libcudart_static.so\n"
        "7f07-7f08 r-xp 00000000 08:01 4   /old/libcudart.so.10.2\n"
        "7f09-7f0a rw-p 00000000 00:00 0   [heap]\n"
    )
    assert discovery.loaded_libraries(maps) == [
        "/usr/local/cuda-12.6/lib64/libcudart.so.12.6.68",
        "/venv/torch/lib/libcudart-d0da41ae.so.11.0",
    ]
    assert discovery.loaded_libraries(tmp_path / "absent") == []


def test_cuda_home_comes_before_the_usual_place(monkeypatch):
    monkeypatch.setenv("CUDA_HOME", "/opt/cuda-12")
    assert discovery._cuda_folders() == [Path("/opt/cuda-12/lib64"), Path("/usr/local/cuda/lib64")]
    monkeypatch.delenv("CUDA_HOME")
    assert discovery._cuda_folders() == [Path("/usr/local/cuda/lib64")]
