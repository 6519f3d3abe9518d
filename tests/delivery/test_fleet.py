"""Many devices: the order, when it stops, the exit code. Devices are functions here, then one sshd."""

from __future__ import annotations

import threading

import pytest

from bisenet_edge.delivery.deliver import deliver
from bisenet_edge.delivery.fleet import Rollout, exit_code, roll_out
from bisenet_edge.delivery.result import HostResult
from bisenet_edge.delivery.target import Target, chosen_targets, read_inventory
from bisenet_edge.errors import ConfigError, UsageError


def fleet(*names, canaries=()):
    return [Target(name, canary=name in canaries) for name in names]


def working(verdicts, seen=None):
    def work(target):
        if seen is not None:
            seen.append(target.host)
        return HostResult(target.host, verdicts.get(target.host, "ok"))

    return work


def verdicts(results):
    return "".join({"ok": ".", "error": "E", "gate": "G", "skipped": "-"}[r.verdict] for r in results)


def test_canaries_come_first_one_at_a_time():
    seen = []
    results = roll_out(fleet("a", "b", "c", "d", canaries="bd"), working({}, seen))
    assert seen[:2] == ["b", "d"]
    assert sorted(seen) == ["a", "b", "c", "d"]
    assert [r.host for r in results] == ["a", "b", "c", "d"]
    assert exit_code(results) == 0


def test_without_a_canary_the_first_is_it():
    results = roll_out(fleet("a", "b", "c"), working({"a": "gate"}))
    assert verdicts(results) == "G--"
    assert exit_code(results) == 3


def test_a_canary_that_fails_stops_everything_whatever_may_fail():
    results = roll_out(fleet("a", "b", "c", canaries="bc"), working({"b": "error"}), Rollout(4, 10))
    assert verdicts(results) == "-E-"
    assert exit_code(results) == 1


@pytest.mark.parametrize(("most", "expected"), [(1, ".E---"), (2, ".E.G-"), (3, ".E.G.")])
def test_it_stops_after_so_many_failures(most, expected):
    work = working({"b": "error", "d": "gate"})
    results = roll_out(fleet(*"abcde"), work, Rollout(parallel=1, max_failures=most))
    assert verdicts(results) == expected
    assert exit_code(results) == 1


def test_no_more_than_allowed_work_at_once():
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(3)

    def work(target):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if target.host != "canary":
            together.wait(60)  # passes only when three are at work
        with lock:
            now -= 1
        return HostResult(target.host, "ok")

    roll_out(fleet("canary", *"abcdef"), work, Rollout(parallel=3))
    assert most == 3


def test_an_interruption_stops_the_others():
    stop = threading.Event()

    def work(target):
        if target.host == "b":
            raise KeyboardInterrupt
        return HostResult(target.host, "ok")

    with pytest.raises(KeyboardInterrupt):
        roll_out(fleet("a", "b", "c"), work, Rollout(1), stop)
    assert stop.is_set()


def test_eight_devices_side_by_side(device, sshd):
    """One sshd, eight names and prefixes; without systemd's stand-in knowing about them: no service."""
    folder = device.prefix.parent
    targets = []
    for number in range(8):
        sshd.add(f"jet{number}")
        targets.append(Target(f"jet{number}", prefix=str(folder / f"edge{number}")))
    way = device.way()
    results = roll_out(targets, lambda t: deliver(t, device.delivery(), way), Rollout(parallel=7))
    assert verdicts(results) == "........", [str(r.error) for r in results]
    for target in targets:
        assert (folder / target.prefix / "current").readlink().name == "new"


INVENTORY = """
[[device]]
host = "jetson@10.0.0.7"
board = "orin-nx"
canary = true
group = "north"

[[device]]
host = "ssh://10.0.0.8:2222"
"""


def test_an_inventory(tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text(INVENTORY)
    first, second = read_inventory(path)
    assert first == Target("jetson@10.0.0.7", "orin-nx", True, "north")
    assert second == Target("ssh://10.0.0.8:2222")
    assert read_inventory(path, "north") == [first]
    assert [t.host for t in chosen_targets(["jet"], path, "", "")] == ["jet", first.host, second.host]
    assert [t.board for t in chosen_targets([], path, "agx-orin", "")] == ["orin-nx", "agx-orin"]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", ConfigError, "missing"),
        ("device = []", ConfigError, "names no device"),
        ("device = [3]", ConfigError, "no table"),
        ("[[device]]\nboard = 'cpu'", ConfigError, "missing"),
        ("[[device]]\nhost = 'a'\nboart = 'cpu'", UsageError, "did you mean 'board'"),
        ("[[device]]\nhost = 'a'\nboard = 'orin-nxx'", UsageError, "did you mean 'orin-nx'"),
        ("[[device]]\nhost = 'a'\ncanary = 'yes'", ConfigError, "wrong type"),
        ("[[device]]\nhost = '-oProxyCommand=x'", UsageError, "not a host"),
        ("[[device]]\nhost = 'a'\nprefix = '/a b'", UsageError, "not a folder"),
        ("[[device]]\nhost = 'a'\n[[device]]\nhost = 'a'", UsageError, "named twice"),
        (INVENTORY, UsageError, "did you mean 'north'"),
    ],
)
def test_a_wrong_inventory_is_one_clear_error(tmp_path, text, error, says):
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(error, match=says):
        chosen_targets([], path, "", "nort" if text == INVENTORY else "")


@pytest.mark.parametrize(
    "host", ["jet", "u@jet", "u@10.0.0.1", "u@fe80::1%eth0", "ssh://u@jet:22", "u@[::1]"]
)
def test_hosts(host):
    assert chosen_targets([host], None, "", "")[0].host == host


@pytest.mark.parametrize(
    "host", ["-l", "u@-jet", "a b", "a;b", "$(x)", "u@", "@jet", "", "ssh://", "a'b", "a\nb"]
)
def test_what_is_no_host(host):
    with pytest.raises(UsageError, match="not a host"):
        chosen_targets([host], None, "", "")
