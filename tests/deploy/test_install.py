"""Installation, upgrade and the way back, without root and without a service."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest
from devices import VERIFY
from toy_artifact import toy_artifact

from bisenet_edge.artifact import Artifact, hash_files, write_manifest
from bisenet_edge.boards import load_board
from bisenet_edge.toolchain.bundle import make_bundle

STEPS = [
    "verify",
    "unpack",
    "machine",
    "files",
    "compile",
    "selftest",
    "latency",
    "switch",
    "service",
    "health",
    "done",
]


@pytest.fixture
def unpacked(bundle, tmp_path):
    """A bundle that somebody has unpacked by hand."""
    with tarfile.open(bundle.path) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    return tmp_path / "unpacked" / bundle.name


def seal(folder):
    """Make the checksums fit again."""
    files = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    digests = {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in files}
    (folder / "SHA256SUMS").write_text("".join(f"{digests[f]}  {f}\n" for f in files))


def with_wrong_masks(folder):
    inside = folder / "artifact"
    manifest = Artifact.open(inside).manifest
    shutil.copy(inside / "golden" / "mask.int8-1.png", inside / "golden" / "mask.int8-0.png")
    write_manifest(inside, replace(manifest, files=hash_files(inside)))
    seal(folder)


def test_signed_from_the_file_to_the_switch(trusting, bundle, newer):
    first = trusting.run(VERIFY, bundle.path, service=False)
    assert (first.code, [name for name, _ in first.steps]) == (0, STEPS), first.err
    assert {verdict for _, verdict in first.steps} == {"ok"}
    release = trusting.links["current"]
    assert trusting.links == {"current": release}
    assert trusting.releases == [release]

    again = trusting.run(VERIFY, bundle.path, service=False)
    assert again.code == 0, again.err
    assert (trusting.links, trusting.releases) == ({"current": release}, [release])

    assert trusting.run(VERIFY, newer.path, service=False).code == 0
    upgraded = trusting.links
    assert upgraded["previous"] == release != upgraded["current"]
    # An older one is refused, the previous one is always allowed.
    assert trusting.run(VERIFY, bundle.path, service=False).code == 1
    assert trusting.links == upgraded
    back = trusting.run(trusting.prefix / "current" / "install.sh", "--rollback", service=False)
    assert (back.code, back.out) == (0, f"step rollback ok {release}\n")
    assert trusting.links == {"current": release, "previous": upgraded["current"]}
    installed = subprocess.run(
        [sys.executable, "-I", str(trusting.prefix / "current" / "bisenet-edge.pyz"), "info", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(installed.stdout)["artifact"]["created"] == "2026-01-01"


def test_nothing_of_a_release_may_be_written_by_others(trusting, bundle):
    trusting.quick = True
    assert trusting.run(VERIFY, bundle.path, service=False).code == 0
    modes = {p: p.stat().st_mode & 0o7022 for p in (trusting.prefix / "releases").rglob("*")}
    assert modes
    assert not [path for path, bits in modes.items() if bits]


def test_there_is_no_previous_release_at_first(device, bundle):
    device.quick = True
    device.run(VERIFY, bundle.path, "--allow-unsigned", service=False)
    done = device.run(device.prefix / "current" / "install.sh", "--rollback", service=False)
    assert done.code == 1
    assert "no previous release" in done.err


def test_by_hand_only_where_no_key_is_trusted(device, unpacked, key):
    device.quick = True
    done = device.run(unpacked / "install.sh", service=False)
    assert (done.code, [name for name, _ in done.steps]) == (0, STEPS[2:]), done.err
    shutil.copy(key.trusted_signers, device.etc / "trusted_signers")
    done = device.run(unpacked / "install.sh", service=False)
    assert (done.code, "signed bundles only" in done.err) == (1, True)


def test_a_damaged_release_is_repaired(device, bundle):
    device.quick = True
    assert device.run(VERIFY, bundle.path, "--allow-unsigned", service=False).code == 0
    model = device.prefix / "current" / "artifact" / "model.int8.onnx"
    model.write_bytes(b"")
    done = device.run(VERIFY, bundle.path, "--allow-unsigned", service=False)
    assert done.code == 0, done.err
    assert model.stat().st_size > 0
    assert device.releases == [device.links["current"]]


def test_a_changed_byte_stops_the_installation(device, unpacked):
    device.quick = True
    model = unpacked / "artifact" / "model.int8.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    done = device.run(unpacked / "install.sh", "--any-machine", service=False)
    assert (done.code, done.steps[-1]) == (1, ("files", "failed"))
    assert "model.int8.onnx" in done.err
    assert device.releases == []


def test_a_failed_selftest_leaves_everything_as_it_was(device, bundle, unpacked):
    assert device.run(VERIFY, bundle.path, "--allow-unsigned", service=False).code == 0
    before = device.links, device.releases
    with_wrong_masks(unpacked)
    done = device.run(unpacked / "install.sh", service=False)
    assert (done.code, done.steps[-1]) == (3, ("selftest", "failed"))
    assert (device.links, device.releases) == before


@pytest.mark.parametrize(
    ("option", "setting", "checked"),
    [
        (None, "0.5", "0.5"),
        (None, '"0.5"', "0.5"),
        (None, "40", "40"),
        ("40", "0.5", "40"),
        ("none", "0.5", None),
        (None, "", None),
    ],
)
def test_which_budget_counts_and_what_a_missed_one_means_fake_interpreter(
    device, bundle, option, setting, checked
):
    device.quick = True
    # It keeps to 33 ms.
    device.fake(
        "python_fake",
        """#!/bin/sh
        case $* in
            *'import tensorrt'*) exit 1 ;;
            *' budget '*) echo "$*" >>"$(dirname "$0")/calls"; case $* in *' 0.5') exit 3 ;; esac ;;
        esac
        """,
    )
    device.settings.write_text(f"# LATENCY_BUDGET_MS=1\nLATENCY_BUDGET_MS={setting}\n")
    words = ["--latency-budget-ms", option] if option else []
    done = device.run(VERIFY, bundle.path, "--allow-unsigned", *words, service=False)
    missed = checked == "0.5"
    assert done.code == (3 if missed else 0), done.err
    assert (("latency", "failed") in done.steps) == missed
    assert bool(device.links) != missed
    assert [call.split(" budget ")[1] for call in device.calls] == ([checked] if checked else [])


def test_the_board_has_a_budget_of_its_own(device, tmp_path):
    artifact = toy_artifact(tmp_path / "toy-64x32")
    board = replace(load_board("cpu"), latency_budget_ms=0.0001)
    bundle = make_bundle(artifact, board, tmp_path)
    done = device.run(VERIFY, bundle.path, "--allow-unsigned", service=False)
    assert (done.code, done.steps[-1]) == (3, ("latency", "failed")), done.out + done.err
    assert "ABOVE the budget of 0.0001 ms" in done.err
    assert device.links == {}


def test_another_machine_is_an_error_with_the_remedy(device, tmp_path):
    bundle = make_bundle(toy_artifact(tmp_path / "toy-64x32"), load_board("orin-nano"), tmp_path)
    words = (VERIFY, bundle.path, "--allow-unsigned", "--latency-budget-ms", "none")
    done = device.run(*words, service=False)
    assert (done.code, done.steps[-1]) == (1, ("machine", "failed"))
    assert "made for orin-nano, and this is no Jetson" in done.err
    assert "bisenet-edge deploy jetson --board cpu" in done.err
    assert device.run(*words, "--any-machine", service=False).code == 0


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 3), (1, 1)])
def test_engines_are_built_before_the_switch_fake_tensorrt(device, bundle, tmp_path, code, expected):
    """The interpreter is wrapped: it has a TensorRT, and its `compile` writes a file."""
    python = tmp_path / "python3"
    python.write_text(f"""#!/bin/sh
case $* in
    *'import tensorrt'*) exit 0 ;;
    *'bisenet-edge.pyz compile'*) echo plan >"$BISENET_EDGE_CACHE/int8.plan"; exit {code} ;;
esac
exec {sys.executable} "$@"
""")
    python.chmod(0o755)
    done = device.run(VERIFY, bundle.path, "--allow-unsigned", service=False, PYTHON=str(python))
    assert done.code == expected, done.err
    assert (("compile", "failed") in done.steps) == (code != 0)
    if not code:
        assert (device.prefix / "current" / "engines" / "int8.plan").read_text() == "plan\n"
    else:
        assert device.releases == []


def test_a_release_that_is_there_keeps_its_engines(device, bundle):
    device.quick = True
    assert device.run(VERIFY, bundle.path, "--allow-unsigned", service=False).code == 0
    engine = device.prefix / "current" / "engines" / "int8.plan"
    engine.parent.mkdir()
    engine.write_text("plan")
    assert device.run(VERIFY, bundle.path, "--allow-unsigned", service=False).code == 0
    assert engine.read_text() == "plan"


@pytest.mark.parametrize(
    ("words", "environment", "status", "says"),
    [
        (["--prefix", "/tmp/a b"], {}, 2, "unusual character"),
        (["--prefix"], {}, 2, "needs a value"),
        (["--prefix", ""], {}, 2, "needs a value"),
        (["--servce"], {}, 2, "unknown option"),
        (["--prune", "x"], {}, 2, "whole number"),
        (["--latency-budget-ms", "soon"], {}, 2, "not a number"),
        (["--prefix", "/proc/none"], {}, 1, "cannot write"),
        ([], {"PYTHON": "no-such-python"}, 1, "python3 is not installed"),
        ([], {"PYTHON": "/bin/false"}, 1, "older than Python 3.8"),
    ],
)
def test_wrong_use_is_one_clear_error(unpacked, tmp_path, words, environment, status, says):
    done = subprocess.run(
        ["sh", unpacked / "install.sh", "--no-service", "--prefix", tmp_path / "p", *words],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def python_without(tmp_path, pattern):
    """An interpreter that lacks something."""
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase $* in {pattern}) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def test_onnx_runtime_alone_is_no_engine(device, unpacked, tmp_path):
    lacking = python_without(tmp_path, '*"import openvino"* | *"import tensorrt"* | *", onnx"*')
    done = device.run(unpacked / "install.sh", service=False, PYTHON=lacking)
    assert done.code == 1
    assert "onnxruntime with onnx" in done.err


def test_a_missing_package_is_named_with_its_remedy(device, unpacked, tmp_path):
    lacking = python_without(tmp_path, '*"import cv2"*')
    done = device.run(unpacked / "install.sh", service=False, PYTHON=lacking)
    assert done.code == 1
    assert "sudo apt-get install -y python3-opencv" in done.err


def test_old_releases_go_but_never_the_current_and_the_previous_one(device, bundle, newer):
    device.quick = True
    for path in (bundle.path, newer.path):
        device.run(VERIFY, path, "--allow-unsigned", service=False)
    for age_s, name in ((300, "older"), (100, "newest"), (200, "middle")):
        folder = device.prefix / "releases" / name
        folder.mkdir()
        os.utime(folder, (folder.stat().st_mtime - age_s, folder.stat().st_mtime - age_s))
    install = device.prefix / "current" / "install.sh"
    assert device.run(install, "--prune", 4, service=False).code == 0
    kept = sorted(device.links.values())
    assert device.releases == sorted([*kept, "newest", "middle"])
    assert device.run(install, "--prune", 0, service=False).code == 0
    assert device.releases == kept


def test_status_is_json(device, bundle):
    device.quick = True
    device.run(VERIFY, bundle.path, "--allow-unsigned", service=False)
    told = device.status()
    assert told["current"] == device.links["current"]
    assert (told["previous"], told["serial"], told["releases"]) == ("", bundle.serial, device.releases)


def test_an_interrupted_installation_leaves_everything_as_it_was(device, bundle, tmp_path):
    """Killed while it tests itself: the interpreter sends the signal to the shell that runs it."""
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\ncase $* in *selftest*) kill -TERM $PPID; sleep 1;; esac\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    done = device.run(VERIFY, bundle.path, "--allow-unsigned", service=False, PYTHON=str(python))
    assert done.code == 130
    assert (device.links, device.releases) == ({}, [])


def test_no_module_of_the_current_folder_is_run(device, bundle, tmp_path):
    """Somebody leaves modules where root calls the script; the words are relative to that folder."""
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(bundle.path, here)
    for name in ("numpy", "cv2", "tensorrt", "openvino", "onnxruntime", "onnx", "sys", "json", "zipimport"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'evil')!r}, 'a').write({name!r})\n")
    done = device.run(VERIFY, bundle.path.name, "--allow-unsigned", service=False, cwd=here)
    assert done.code == 0, done.err
    done = device.run(
        (device.prefix / "current" / "install.sh").relative_to(tmp_path), service=False, cwd=tmp_path
    )
    assert done.code == 0, done.err
    by_hand = device.run("../device/opt/current/install.sh", service=False, cwd=here)
    assert by_hand.code == 0, by_hand.err
    assert not (tmp_path / "evil").exists()


def test_a_previous_release_that_is_damaged_is_not_gone_back_to(device, bundle, newer):
    device.quick = True
    for path in (bundle.path, newer.path):
        assert device.run(VERIFY, path, "--allow-unsigned", service=False).code == 0
    before = device.links
    (device.prefix / "previous" / "artifact" / "model.int8.onnx").write_bytes(b"")
    done = device.run(device.prefix / "current" / "install.sh", "--rollback", service=False)
    assert (done.code, device.links) == (1, before)
    assert f"the previous release is damaged: {before['previous']}" in done.err


def test_a_rollback_that_is_cut_off_goes_on_when_asked_again_fake_mv(device, bundle, newer):
    """The power goes between the two links."""
    device.quick = True
    for path in (bundle.path, newer.path):
        assert device.run(VERIFY, path, "--allow-unsigned", service=False).code == 0
    before = device.links
    device.fake(
        "mv",
        """#!/bin/sh
        case $* in */previous) ! rm "$(dirname "$0")/cut" 2>/dev/null || kill -9 0 ;; esac
        exec /usr/bin/mv "$@"
        """,
    )
    (device.fakes / "cut").write_text("")
    install = device.prefix / "releases" / before["current"] / "install.sh"
    assert device.run(install, "--rollback", service=False).code == -9
    assert device.links == {"current": before["previous"], "previous": before["previous"]}
    done = device.run(install, "--rollback", service=False)
    assert (done.code, done.out) == (0, f"step rollback ok {before['previous']}\n"), done.err
    assert device.links == {"current": before["previous"], "previous": before["current"]}
    assert device.status()["unconfirmed"] == ""
