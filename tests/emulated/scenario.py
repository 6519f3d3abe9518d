"""What happens inside the booted tree, step by step; each step's findings go to /out/STEP.json.

Runs there as a unit of its own, with the tree's Python and the standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

OUT = Path("/out")
UNIT = "bisenet-edge.service"
ENV = Path("/etc/bisenet-edge/bisenet-edge.env")
HANG = Path("/run/engine-hangs")
PROPERTIES = "Type,ActiveState,SubState,Result,StatusText,NRestarts,MainPID,User,WatchdogUSec,ExecMainStatus"
LIMIT_S = 120.0


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def state() -> dict[str, str]:
    lines = systemctl("show", "--property", PROPERTIES, UNIT).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def wait(until) -> dict[str, str]:
    """The first state that `until` likes, or the last one seen with "timeout" in it."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        now = state()
        if until(now):
            return now
        if time.monotonic() > deadline:
            return {**now, "timeout": f"{LIMIT_S:g} s"}
        time.sleep(0.1)


def delivering(now: dict[str, str]) -> bool:
    return now["ActiveState"] == "active" and "frame age" in now["StatusText"]


def another(pid: str):
    return lambda now: delivering(now) and now["MainPID"] not in ("0", pid)


def install(name: str, *words: str) -> dict[str, object]:
    command = ["sh", "/test/verify-and-install.sh", f"/test/{name}.tar.gz", "--any-machine", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "code": done.returncode,
        "steps": [line for line in done.stdout.splitlines() if line.startswith("step ")],
        "said": done.stdout + done.stderr,
        "current": current(),
    }


def current() -> str:
    link = Path("/opt/bisenet-edge/current")
    return os.readlink(link) if link.is_symlink() else "nothing"


def hit(now: dict[str, str], number: int) -> None:
    pid = int(now["MainPID"])
    if pid == 0:
        raise ProcessLookupError(f"the service does not run: {now}")
    os.kill(pid, number)


def first_installation():
    found = install("good")
    if found["code"]:
        return found
    now = wait(delivering)
    threads = Path(f"/proc/{now['MainPID']}/status").read_text().splitlines()
    owner = next(line.split()[1] for line in threads if line.startswith("Uid:"))
    masks = Path("/var/lib/bisenet-edge/masks.jsonl")
    return {**found, **now, "uid": owner, "lines": len(masks.read_text().splitlines())}


def crash():
    before = wait(delivering)
    hit(before, signal.SIGKILL)
    return {"before": before, "after": wait(another(before["MainPID"]))}


def stopped_process():
    before = wait(delivering)
    hit(before, signal.SIGSTOP)
    return {"before": before, "after": wait(another(before["MainPID"]))}


def engine_that_hangs():
    """The process lives and answers signals; only masks do not come out."""
    before = wait(delivering)
    HANG.touch()
    gone = wait(lambda now: now["MainPID"] != before["MainPID"])
    HANG.unlink()
    return {"before": before, "gone": gone, "after": wait(another(before["MainPID"]))}


def stop_and_start():
    pid = wait(delivering)["MainPID"]
    systemctl("stop", UNIT)
    stopped = state()
    systemctl("start", UNIT)
    return {"stopped": stopped, "after": wait(another(pid))}


def release_that_crashes():
    return {**install("crashes", "--health-timeout-s", "30"), "after": wait(delivering)}


def release_without_masks():
    return {**install("silent", "--health-timeout-s", "10"), "after": wait(delivering)}


def rollback_by_hand():
    """The same network with another text file in it is another release; then back."""
    upgraded = install("next")
    done = subprocess.run(
        ["sh", "/opt/bisenet-edge/current/install.sh", "--rollback"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "upgraded": upgraded,
        "code": done.returncode,
        "said": done.stdout + done.stderr,
        "current": current(),
        "after": wait(delivering),
    }


def with_source(source: str):
    lines = [line for line in ENV.read_text().splitlines() if not line.startswith("SOURCE=")]
    ENV.write_text("\n".join([*lines, f"SOURCE={source}", ""]))
    systemctl("reset-failed", UNIT)
    systemctl("restart", "--no-block", UNIT)
    return wait(lambda now: now["ActiveState"] == "failed")


def wrong_option():
    return with_source("nonsense://0")


def source_that_is_not_there():
    return with_source("/nowhere.mp4")


STEPS = (
    first_installation,
    crash,
    stopped_process,
    engine_that_hangs,
    stop_and_start,
    release_that_crashes,
    release_without_masks,
    rollback_by_hand,
    wrong_option,
    source_that_is_not_there,
)


def main() -> None:
    for step in STEPS:
        began = time.monotonic()
        try:
            found = step()
        except Exception as error:  # noqa: BLE001 (the tests outside say which step broke)
            found = {"broke": repr(error), "state": state()}
        found["took_s"] = round(time.monotonic() - began, 1)
        (OUT / f"{step.__name__}.json").write_text(json.dumps(found, indent=2))
        if found.get("code") and step is first_installation:
            break
    journal = subprocess.run(["journalctl", "--no-pager"], capture_output=True, text=True, check=False)
    (OUT / "journal.txt").write_text(journal.stdout + journal.stderr)


main()
