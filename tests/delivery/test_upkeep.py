"""Refusals before a push, status, rollback, prune: over a real sshd, with a stand-in for the installer."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from test_deliver_standin import jobs, start
from throwaway_sshd import FAKES, wait_until

from bisenet_edge.delivery.deliver import Payload, deliver, plan
from bisenet_edge.delivery.device import Place
from bisenet_edge.delivery.upkeep import prune, rollback, status

NOT_ROOT = '#!/bin/sh\ncase $1 in -u) echo 1000 ;; -un) echo jetson ;; *) /usr/bin/id "$@" ;; esac\n'


def nothing_was_pushed(device):
    return device.current == "old" and not (device.prefix / "incoming").exists()


def test_another_board_is_refused(device, sshd):
    sshd.board("NVIDIA Jetson Orin NX", "nvidia,p3768-0000+p3767-0000 nvidia,tegra234")
    result = deliver(device.target(board="orin-nano"), device.delivery(), device.way())
    assert result.verdict == "error"
    assert "another board" in result.error.what
    assert "orin-nx" in result.error.got
    assert result.error.fix == "--board orin-nx"
    assert nothing_was_pushed(device)
    anyway = device.delivery(any_machine=True)
    assert plan(device.target(board="orin-nano"), anyway, device.way()).verdict == "planned"


def test_the_board_is_asked_for(device, sshd):
    asked = []
    sshd.board("NVIDIA Jetson Orin NX", "nvidia,p3768-0000+p3767-0000 nvidia,tegra234")
    delivery = device.delivery(payload_for=lambda board: asked.append(board) or device.payload)
    assert deliver(device.target(), delivery, device.way()).verdict == "ok"
    assert asked == ["orin-nx"]


def test_too_little_space(device):
    big = Payload(device.bundle, None, "0", unpacked_bytes=10**15)
    result = deliver(device.target(), device.delivery(payload_for=lambda board: big), device.way())
    assert "too little space on jet" in result.error.what
    assert nothing_was_pushed(device)


def test_missing_commands_are_named(device, sshd):
    """A device whose `sh` finds next to nothing on its PATH."""
    few = sshd.folder / "state" / "few"
    few.mkdir()
    for name in (
        "id",
        "uname",
        "base64",
        "tr",
        "head",
        "dirname",
        "df",
        "awk",
        "basename",
        "readlink",
        "cat",
    ):
        (few / name).symlink_to(shutil.which(name))
    sshd.fake("sh", f'#!/bin/sh\nPATH={few}\nexport PATH\nexec /bin/sh "$@"\n')
    result = deliver(device.target(), device.delivery(), device.way())
    assert "lacks commands" in result.error.what
    assert result.error.got == "no flock, setsid, sha256sum, stat, tar"


@pytest.mark.parametrize(
    ("sudo", "why"),
    [(None, "is not installed"), ("echo 'sudo: a password is required' >&2; exit 1", "asks for a password")],
)
def test_without_root_the_remedy_is_named(device, sshd, sudo, why):
    """A fake `id` makes root a plain user; a fake `sudo` asks for a password."""
    sshd.fake("id", NOT_ROOT)
    if sudo:
        sshd.fake("sudo", f"#!/bin/sh\n{sudo}\n")
    elif shutil.which("sudo"):
        pytest.skip("this machine has sudo: its absence cannot be tried here")
    result = deliver(device.target(), device.delivery(), device.way())
    assert "root is needed on jet" in result.error.what
    assert why in result.error.got
    assert result.error.fix.startswith("--host root@jet; or there: sudo visudo")
    assert nothing_was_pushed(device)


def test_sudo_without_a_password_is_used(device, sshd):
    """A fake `sudo` that writes down what it was asked to run."""
    sshd.fake("id", NOT_ROOT)
    sshd.fake("sudo", '#!/bin/sh\nshift\necho "$@" >>"$FAKE_STATE/sudo"\nexec "$@"\n')
    result = deliver(device.target(), device.delivery(), device.way())
    assert result.verdict == "ok", result
    assert len((sshd.folder / "state" / "sudo").read_text().splitlines()) > 5


def test_a_try_out_needs_no_root(device, sshd):
    sshd.fake("id", NOT_ROOT)
    way = device.way(place=Place(str(device.prefix), service=False))
    assert plan(device.target(), device.delivery(), way).verdict == "planned"


def test_status(device):
    deliver(device.target(), device.delivery(), device.way())
    release = device.prefix / "releases" / "new"
    (release / "artifact").mkdir()
    (release / "release.json").write_text(json.dumps({"serial": "12.3"}))
    (release / "artifact" / "manifest.json").write_text(json.dumps({"name": "toy"}))
    result = status(device.target(), device.way())
    found = result.device
    assert (found.current, found.previous, found.serial, found.artifact) == ("new", "old", "12.3", "toy")
    assert found.releases == ("new", "old")
    service = found.service
    assert (service.state, service.restarts, service.fps) == ("active", 2, 29.8)
    assert (service.age_p50_ms, service.age_p99_ms) == (41.0, 60.5)
    assert found.job.endswith(" 0")
    json.dumps(result.to_json())
    (release / "release.json").write_text("{half")
    assert status(device.target(), device.way()).device.serial == "", "a damaged release hides no device"


def installed_standin(device):
    deliver(device.target(), device.delivery(), device.way())
    for name in ("old", "new"):
        script = (FAKES / "install.sh").read_text().replace("@GATES@", str(device.gates))
        (device.prefix / "releases" / name / "install.sh").write_text(script)


def test_rollback(device):
    installed_standin(device)
    assert rollback(device.target(), device.way(), dry_run=True).notes == ("from new to old",)
    assert device.current == "new"
    result = rollback(device.target(), device.way())
    assert result.verdict == "ok", result
    assert (device.current, device.service, result.runs) == ("old", "old", "old, service active")


def test_a_rollback_that_is_cut_is_not_rolled_forward_again(device, proxy):
    installed_standin(device)
    device.hold_at("rollback")
    results, thread = start(rollback, device.target("cable"), device.way())
    wait_until(lambda: device.reached("rollback"), "the device rolls back")
    proxy.cut()
    thread.join()
    assert results[0].verdict == "error"
    device.let_go()
    wait_until(device.job_is_over, "the rollback ends")
    assert device.current == "old"
    again = rollback(device.target("cable"), device.way())
    assert again.verdict == "ok"
    assert device.current == "old", "the same command told of the first rollback"
    assert rollback(device.target("cable"), device.way()).verdict == "ok"
    assert device.current == "new", "given once more, it is a new wish"
    assert len(jobs(device)) == 3


def test_nothing_to_roll_back_to(device):
    result = rollback(device.target(), device.way())
    assert "no release to go back to" in result.error.what
    assert "deploy jetson --host jet" in result.error.fix


def test_prune(device):
    deliver(device.target(), device.delivery(), device.way())
    releases = device.prefix / "releases"
    for age, name in enumerate(("older", "oldest"), start=1):
        (releases / name).mkdir()
        os.utime(releases / name, (1_000_000 - age, 1_000_000 - age))
    (releases / ".staging-x").mkdir()
    looked = prune(device.target(), device.way(), 3, dry_run=True)
    assert looked.verdict == "planned"
    assert "releases/oldest" in looked.notes
    assert (releases / "oldest").exists()
    pruned = prune(device.target(), device.way(), 3)
    assert pruned.verdict == "ok"
    assert pruned.notes[:-1] == looked.notes[:-1]
    assert sorted(p.name for p in releases.iterdir()) == ["new", "old", "older"]
    assert not list((device.prefix / "incoming").glob("*.tar.gz"))
    assert prune(device.target(), device.way(), 1).verdict == "ok"
    assert sorted(p.name for p in releases.iterdir()) == ["new", "old"], "these two always stay"
    assert prune(device.target(prefix=str(device.prefix / "none")), device.way(), 2).verdict == "ok"


def test_nothing_is_pruned_while_a_deployment_runs(device):
    device.hold_at("compile")
    _, thread = start(deliver, device.target(), device.delivery(), device.way())
    wait_until(lambda: device.reached("compile"), "a deployment runs")
    result = prune(device.target(), device.way(), 2)
    assert "a deployment is running on jet; nothing was removed" in result.error.what
    device.let_go()
    thread.join()
    assert device.current == "new"
