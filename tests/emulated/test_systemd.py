"""The service under a real systemd: installed signed, started, killed, hung, rolled back, given up.

One boot, in which `scenario.py` does everything in order; each test looks at one step of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from machine import boot, make_bootable
from needs import need_cgroup2, need_programs, need_root
from releases import CRASHES, SILENT, make_key, pack, variant
from trees import BOOTABLE, SITE, copy_of, debian_tree, wheels, with_users

from bisenet_edge.resources import data_folder

pytestmark = pytest.mark.emulated
HERE = Path(__file__).parent
ENGINE = ("numpy<3", "opencv-python-headless>=4.8", "onnxruntime>=1.25,<2", "onnx>=1.16,<2")
BOOT_LIMIT_S = 900
INSTALLATION = ["verify", "unpack", "machine", "files", "compile", "selftest", "latency", "switch"]
INSTALLATION += ["service", "health", "done"]
SETTINGS = """# Kept by an upgrade.
SOURCE=synthetic://?size=320x180&seconds=100000
SINKS="null:// jsonl:///var/lib/bisenet-edge/masks.jsonl"
LATENCY_BUDGET_MS=
"""
# The unit's own limits, shorter, so that a test need not wait for them.
DROP_IN = """[Service]
WatchdogSec=5
TimeoutAbortSec=2
RestartSec=1
Environment=PYTHONPATH=/test/hang
"""
SCENARIO = """[Unit]
Description=what is tested
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/usr/bin/python3 /test/scenario.py
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory, release):
    """Step -> what was found in it, of one boot."""
    need_root("booting systemd")
    need_programs("mmdebstrap", "setpriv", "unshare", "ssh-keygen")
    cgroup2 = need_cgroup2()
    work = tmp_path_factory.mktemp("systemd")
    tree = work / "tree"
    try:
        with_users(copy_of(debian_tree("amd64", BOOTABLE), tree))
        make_bootable(tree)
        _lay_in(tree, release, work)
        done = boot(tree, cgroup2, {wheels("x86_64", *ENGINE): SITE}, BOOT_LIMIT_S)
        steps = {path.stem: json.loads(path.read_text()) for path in (tree / "out").glob("*.json")}
        journal = tree / "out/journal.txt"
        assert journal.is_file(), (steps, done)
        print({name: step["took_s"] for name, step in steps.items()})
        return {**steps, "journal": journal.read_text()}
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _lay_in(tree: Path, release: Path, work: Path) -> None:
    test = tree / "test"
    etc = tree / "etc/bisenet-edge"
    drop_in = tree / "etc/systemd/system/bisenet-edge.service.d/test.conf"
    for folder in (test / "hang", etc, drop_in.parent, tree / "out"):
        folder.mkdir(parents=True)
    key = make_key(work)
    variants = {
        "good": {},
        "next": {"readme": "next\n"},
        "crashes": {"program": CRASHES},
        "silent": {"program": SILENT},
    }
    for name, changes in variants.items():
        pack(variant(release, work / name, **changes), test / f"{name}.tar.gz", key)
    shutil.copy(work / "trusted_signers", etc)
    (etc / "bisenet-edge.env").write_text(SETTINGS)
    shutil.copy(HERE / "scenario.py", test)
    shutil.copy(HERE / "hang_sitecustomize.py", test / "hang/sitecustomize.py")
    shutil.copy(data_folder("deploy") / "verify-and-install.sh", test)
    drop_in.write_text(DROP_IN)
    unit = tree / "etc/systemd/system/scenario.service"
    unit.write_text(SCENARIO)
    wanted = tree / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / unit.name).symlink_to(f"../{unit.name}")


def is_delivering(state):
    return state["ActiveState"] == "active" and "frame age" in state["StatusText"] and "timeout" not in state


def test_a_signed_bundle_becomes_a_service_that_delivers_masks(found):
    step = found["first_installation"]
    assert step["code"] == 0, step["said"]
    assert [line.split()[1] for line in step["steps"]] == INSTALLATION
    assert is_delivering(step)
    assert step["Type"] == "notify"
    assert step["User"] == "bisenet-edge"
    assert step["uid"] != "0"
    assert step["lines"] > 0


def test_after_a_crash_it_is_started_again(found):
    step = found["crash"]
    assert is_delivering(step["after"])
    assert int(step["after"]["NRestarts"]) == int(step["before"]["NRestarts"]) + 1
    assert "status=9/KILL" in found["journal"]


@pytest.mark.parametrize("hang", ["stopped_process", "engine_that_hangs"])
def test_the_watchdog_ends_what_delivers_no_masks(found, hang):
    step = found[hang]
    assert is_delivering(step["before"])
    assert is_delivering(step["after"])
    assert int(step["after"]["NRestarts"]) == int(step["before"]["NRestarts"]) + 1
    assert found["journal"].count("Watchdog timeout") >= 2


def test_stopping_is_no_failure(found):
    step = found["stop_and_start"]
    assert (step["stopped"]["ActiveState"], step["stopped"]["Result"]) == ("inactive", "success")
    assert is_delivering(step["after"])


@pytest.mark.parametrize("broken", ["release_that_crashes", "release_without_masks"])
def test_a_broken_release_is_taken_back(found, broken):
    step = found[broken]
    assert step["code"] == 1, step["said"]
    assert step["current"] == found["first_installation"]["current"]
    assert [line for line in step["steps"] if line.startswith("step rollback ok")], step["said"]
    assert is_delivering(step["after"])


def test_back_to_the_release_before(found):
    step = found["rollback_by_hand"]
    assert step["upgraded"]["code"] == 0, step["upgraded"]["said"]
    assert step["upgraded"]["current"] != found["first_installation"]["current"]
    assert step["code"] == 0, step["said"]
    assert step["current"] == found["first_installation"]["current"]
    assert is_delivering(step["after"])


def test_a_wrong_option_is_not_tried_again(found):
    step = found["wrong_option"]
    assert (step["ActiveState"], step["NRestarts"]) == ("failed", "0")
    assert step["ExecMainStatus"] == "2"


def test_a_source_that_is_not_there_is_given_up_in_the_end(found):
    step = found["source_that_is_not_there"]
    assert step["ActiveState"] == "failed"
    assert int(step["NRestarts"]) > 1
    assert "Start request repeated too quickly" in found["journal"]
