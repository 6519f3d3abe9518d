"""One device, over a real sshd; the installer is a stand-in that meets the test at each step."""

from __future__ import annotations

import threading

import pytest
from throwaway_sshd import wait_until

from bisenet_edge.delivery.deliver import STEPS, deliver, plan


def start(call, *words):
    """Call in a thread: a list that holds the result once there is one, and the thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call(*words)))
    thread.start()
    return results, thread


def jobs(device):
    return sorted(p for p in (device.prefix / "jobs").iterdir() if p.is_dir())


def test_push_install_switch(device):
    seen = []
    result = deliver(device.target(), device.delivery(), device.way(), lambda *told: seen.append(told))
    assert result.verdict == "ok", result
    assert (result.before, device.current, device.service) == ("old", "new", "new")
    assert result.board == "orin-nano"
    assert result.runs == "new, service active"
    assert tuple(step.name for step in result.steps) == STEPS
    assert (result.size_bytes, result.found_bytes) == (3_000_000, 0)
    assert seen[0] == (f"pushing {device.bundle.name}", 0, 3_000_000)
    assert (f"pushing {device.bundle.name}", 3_000_000, 3_000_000) in seen
    assert seen[-1] == ("done", 11, 11)
    assert (device.prefix / "incoming").stat().st_mode & 0o77 == 0, "others must not exchange what is pushed"

    again = deliver(device.target(), device.delivery(), device.way())
    assert (again.verdict, again.before, again.found_bytes) == ("ok", "new", 3_000_000)
    assert len(jobs(device)) == 2, "a result that was told is not told again: the work is done again"


def test_a_dry_run_changes_nothing(device):
    before = sorted(device.prefix.rglob("*"))
    result = plan(device.target(), device.delivery(), device.way())
    assert result.verdict == "planned"
    assert "3.0 MB to go" in result.notes[0]
    assert sorted(device.prefix.rglob("*")) == before


@pytest.mark.parametrize("step", STEPS[:-1])
def test_cut_at_a_step(device, proxy, step):
    """The old release runs on, the device goes on by itself, and the same command ends the work."""
    device.hold_at(step)
    results, thread = start(deliver, device.target("cable"), device.delivery(), device.way())
    wait_until(lambda: device.reached(step), f"the device reaches {step}")
    proxy.cut()
    thread.join()
    (cut,) = results
    assert cut.verdict == "error"
    assert "was lost while" in cut.error.what
    assert "same command again" in cut.error.fix
    switched = STEPS.index(step) > STEPS.index("switch")
    assert device.current == ("new" if switched else "old")
    # The service is restarted in its own step: until then the old release runs.
    assert device.service == ("new" if step == "health" else "old")
    assert cut.runs == f"{device.current}, service active", "asked again, over a new connection"

    device.let_go()
    again = deliver(device.target("cable"), device.delivery(), device.way())
    assert again.verdict == "ok", again
    assert (device.current, device.service) == ("new", "new")
    assert tuple(s.name for s in again.steps) == STEPS, "told from the first step on"
    assert len(jobs(device)) == 1, "the work was done once"


@pytest.mark.parametrize("step", ["compile", "service", "health"])
def test_cut_and_then_the_device_fails(device, proxy, step):
    """With nobody there to see it, the device takes back what it did."""
    delivery = device.delivery("--fail-at", step)
    device.hold_at(step)
    results, thread = start(deliver, device.target("cable"), delivery, device.way())
    wait_until(lambda: device.reached(step), f"the device reaches {step}")
    proxy.cut()
    thread.join()
    assert results[0].verdict == "error"
    device.let_go()
    wait_until(device.job_is_over, "the device ends the job")
    assert (device.current, device.service) == ("old", "old")
    again = deliver(device.target("cable"), delivery, device.way())
    assert again.verdict == "error"
    assert f"{step} failed on cable; it runs old, service active" in again.error.what
    assert len(jobs(device)) == 2, "a failure is no reason not to try again"


@pytest.mark.parametrize("limit_bytes", [100, 3000, 60_000, 1_000_000, 2_500_000])
def test_cut_in_the_push_goes_on_where_it_stopped(device, proxy, limit_bytes):
    proxy.limit_bytes = limit_bytes
    cut = deliver(device.target("cable"), device.delivery(), device.way())
    assert cut.verdict == "error"
    assert (device.current, device.service) == ("old", "old")
    part = device.prefix / "incoming" / f"{device.bundle.name}.part"
    again = deliver(device.target("cable"), device.delivery(), device.way())
    assert again.verdict == "ok", again
    assert device.current == "new"
    assert not part.exists()
    if limit_bytes >= 1_000_000:
        assert 0 < again.found_bytes < 3_000_000, "what was there was not sent again"


def test_lost_connections_are_made_again_by_the_same_command(device, proxy):
    proxy.limit_bytes = 2_000_000
    device.hold_at("selftest")
    way = device.way(retry_waits_s=(0.1, 0.1, 0.1))
    results, thread = start(deliver, device.target("cable"), device.delivery(), way)
    wait_until(lambda: device.reached("selftest"), "the device reaches selftest")
    proxy.cut()
    device.let_go()
    thread.join()
    (result,) = results
    assert result.verdict == "ok", result
    assert result.notes[0] == "connection lost while pushing"
    assert len(result.notes) == 2
    assert len(jobs(device)) == 1
    assert device.current == "new"


def test_two_deployers_do_not_interleave(device):
    device.hold_at("compile")
    first, thread = start(deliver, device.target(), device.delivery(), device.way())
    wait_until(lambda: device.reached("compile"), "the first is at work")
    other = deliver(device.target(), device.delivery("--release", "other"), device.way())
    assert other.verdict == "error"
    assert "another deployment is running on jet" in other.error.what
    assert "since" in other.error.got
    # Somebody else with the very same work: follows the one that is running.
    same, second = start(deliver, device.target(), device.delivery(), device.way())
    device.let_go()
    thread.join()
    second.join()
    assert [r.verdict for r in (*first, *same)] == ["ok", "ok"]
    assert device.current == "new"


def test_a_killed_job_is_told(device):
    device.hold_at("unpack")
    results, thread = start(deliver, device.target(), device.delivery(), device.way())
    wait_until(lambda: device.reached("unpack"), "the device is at work")
    device.kill_job()
    thread.join()
    assert results[0].verdict == "error"
    assert "killed, or the device was restarted" in results[0].error.what
    device.let_go()
    assert deliver(device.target(), device.delivery(), device.way()).verdict == "ok"


@pytest.mark.parametrize(
    ("step", "verdict"), [("verify", "error"), ("selftest", "gate"), ("latency", "gate"), ("health", "error")]
)
def test_a_step_that_fails(device, step, verdict):
    result = deliver(device.target(), device.delivery("--fail-at", step), device.way())
    assert result.verdict == verdict
    assert result.error.what == f"{step} failed on jet; it runs old, service active"
    assert result.error.got == "told to"
    assert result.error.fix == "on the device: do not tell it to"
    assert (device.current, device.service) == ("old", "old")


def test_an_installer_that_ends_too_early_is_no_success(device):
    result = deliver(device.target(), device.delivery(installer="exit 0\n"), device.way())
    assert result.verdict == "error"
    assert device.current == "old"


def test_what_a_device_says_cannot_drive_the_terminal(device):
    script = (
        "printf 'step verify failed \\033[2Jgone\\n'; printf 'error: \\033]0;title\\007\\n' >&2; exit 1\n"
    )
    result = deliver(device.target(), device.delivery(installer=script), device.way())
    assert result.error.got == "?[2Jgone"
    assert "\033" not in str(result.to_json())
