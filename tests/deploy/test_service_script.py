"""The service: configuration, start, health, and the way back, with a fake systemctl."""

from __future__ import annotations

import stat
import subprocess

import pytest
from devices import VERIFY

from bisenet_edge.resources import data_folder

SECRET = "hunter2secret"


@pytest.fixture
def trusting(trusting):
    """These tests are about the service: the interpreter is a fake."""
    trusting.quick = True
    return trusting


@pytest.fixture
def serving(trusting, bundle):
    """A device whose service runs."""
    trusting.settings.write_text(f"SOURCE=rtsp://me:{SECRET}@camera/1\nSINKS=null://\n")
    trusting.settings.chmod(0o644)
    done = trusting.run(VERIFY, bundle.path)
    assert done.code == 0, done.out + done.err
    return trusting


def unit(device):
    return (device.units / "bisenet-edge.service").read_text()


def test_a_service_without_a_source_is_installed_and_not_started_fake_systemctl(trusting, bundle):
    done = trusting.run(VERIFY, bundle.path)
    assert done.code == 0, done.err
    assert "step health ok not checked: the service is not started, SOURCE is empty" in done.out
    assert not [call for call in trusting.calls if call.startswith(("restart", "enable"))]
    text = trusting.settings.read_text()
    assert {"SOURCE=", "SINKS=null://", "LATENCY_BUDGET_MS="} <= set(text.splitlines())
    assert stat.S_IMODE(trusting.settings.stat().st_mode) == 0o640
    assert f"chgrp bisenet-edge {trusting.settings}" in trusting.calls
    assert any(call.startswith("useradd --system") for call in trusting.calls)


def test_a_mask_is_what_counts_as_healthy_fake_systemctl(serving):
    assert serving.status()["service"] == {
        "state": "active",
        "status": "29.9 FPS, frame age p50 12.0 ms, 0 of 90 frames dropped",
    }
    told = [call for call in serving.calls if not call.startswith("show")]
    assert [call for call in told if call.split()[0] in ("daemon-reload", "enable", "restart")] == [
        "daemon-reload",
        "enable --quiet bisenet-edge.service",
        "restart bisenet-edge.service",
    ]


def test_the_unit_is_that_of_this_device_fake_systemctl(serving):
    text = unit(serving)
    assert f"EnvironmentFile={serving.settings}" in text
    assert f" -s {serving.prefix}/current/bisenet-edge.pyz serve" in text
    assert f"BISENET_EDGE_CACHE={serving.prefix}/current/engines" in text
    assert "/opt/bisenet-edge" not in text
    assert "=/etc" not in text
    assert "SupplementaryGroups=video\n" in text


def test_the_group_render_is_added_where_there_is_one_fake_systemctl(serving, newer):
    (serving.fakes / "has_render").write_text("")
    assert serving.run(VERIFY, newer.path).code == 0
    assert "SupplementaryGroups=video render\n" in unit(serving)


def test_an_upgrade_keeps_the_settings_and_tightens_who_may_read_them_fake_systemctl(serving, newer):
    before = serving.settings.read_text()
    assert serving.run(VERIFY, newer.path).code == 0
    assert serving.settings.read_text() == before
    assert stat.S_IMODE(serving.settings.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ("silent", "no mask within 2 s (service: active, waiting for the first mask)"),
        ("failed", "the service has failed"),
        ("unstartable", "the service does not start"),
    ],
)
def test_a_release_that_gives_no_masks_is_taken_back_fake_systemctl(serving, newer, trouble, says):
    before = serving.links, serving.releases, unit(serving)
    (serving.fakes / trouble).write_text(f"{release_of(newer)}\n")
    done = serving.run(VERIFY, newer.path)
    assert done.code == 1
    assert done.steps[-2:] == [("health", "failed"), ("rollback", "ok")], done.out
    assert f"step health failed {says}" in done.out
    assert done.out.splitlines()[-1] == f"step rollback ok {before[0]['current']}"
    assert (serving.links, serving.releases, unit(serving)) == before
    assert (serving.fakes / "running").read_text().strip() == before[0]["current"]


def test_a_way_back_that_fails_is_told_fake_systemctl(serving, newer):
    (serving.fakes / "silent").write_text(f"{release_of(newer)}\n{serving.links['current']}\n")
    done = serving.run(VERIFY, newer.path)
    assert (done.code, done.steps[-1]) == (1, ("rollback", "failed"))


def test_a_first_release_that_gives_no_masks_leaves_no_service_fake_systemctl(trusting, bundle):
    trusting.settings.write_text("SOURCE=x\nSINKS=null://\n")
    (trusting.fakes / "silent").write_text(f"{release_of(bundle)}\n")
    done = trusting.run(VERIFY, bundle.path)
    assert (done.code, done.steps[-1]) == (1, ("rollback", "ok"))
    assert (trusting.links, trusting.releases) == ({}, [])
    assert list(trusting.units.iterdir()) == []
    assert "disable --now --quiet bisenet-edge.service" in trusting.calls


def test_back_to_the_previous_release_by_hand_fake_systemctl(serving, newer):
    first = serving.links["current"]
    assert serving.run(VERIFY, newer.path).code == 0
    done = serving.run(serving.prefix / "current" / "install.sh", "--rollback")
    assert (done.code, done.out) == (0, f"step rollback ok {first}\n")
    assert (serving.fakes / "running").read_text().strip() == first


def test_an_error_in_the_middle_of_the_service_step_is_taken_back_fake_systemctl(serving, newer):
    before = serving.links
    serving.fake("chgrp", "#!/bin/sh\nexit 1\n")
    done = serving.run(VERIFY, newer.path)
    assert ("service", "failed") in done.steps
    assert (done.code, done.steps[-1], serving.links) == (1, ("rollback", "ok"), before)


def test_no_password_is_told_by_anything_fake_systemctl(serving, newer):
    """Not by an installation, not by one that fails, not by the status, not on a command line."""
    done = serving.run(VERIFY, newer.path)
    (serving.fakes / "silent").write_text(f"{serving.links['current']}\n")
    failed = serving.run(serving.prefix / "current" / "install.sh", "--rollback")
    status = serving.run(serving.prefix / "current" / "install.sh", "--status")
    for told in (done, failed, status):
        assert SECRET not in told.out + told.err
    assert SECRET not in unit(serving)
    assert SECRET not in "\n".join(serving.calls)


def test_settings_are_read_and_never_run_fake_systemctl(trusting, bundle, tmp_path):
    evil = tmp_path / "evil"
    trusting.settings.write_text(
        f"SOURCE=$(touch {evil})\nLATENCY_BUDGET_MS=`touch {evil}`\nSINKS=;touch {evil}\n"
    )
    done = trusting.run(VERIFY, bundle.path)
    assert (done.code, done.steps[-1]) == (0, ("done", "ok"))
    assert not evil.exists()


def test_a_hostile_status_is_still_json_fake_systemctl(serving):
    serving.fake("systemctl", "#!/bin/sh\nprintf 'a\"b\\\\c\\001\\033[31m'\n")
    assert serving.status()["service"]["state"] == 'a"b\\c[31m'


TENSORRT_FAKE = """#!/bin/sh
case $* in
    *'bisenet-edge.pyz compile'*)
        echo plan >"$BISENET_EDGE_CACHE/new.plan"
        ls "$BISENET_EDGE_CACHE" >"$(dirname "$0")/found"
        ;;
esac
"""


def test_root_opens_no_engine_fake_setpriv_and_tensorrt(trusting, bundle):
    """What the service could have written is built and run by the service's user."""
    trusting.fake("python_fake", TENSORRT_FAKE)
    assert trusting.run(VERIFY, bundle.path).code == 0
    dropped = [call for call in trusting.calls if call.startswith("setpriv ")]
    as_user = "setpriv --reuid bisenet-edge --regid bisenet-edge --groups video --no-new-privs "
    assert all(call.startswith(as_user) for call in dropped)
    assert [call.split("bisenet-edge.pyz ")[1].split()[0] for call in dropped] == ["compile", "selftest"]
    (owned,) = [call for call in trusting.calls if call.startswith("chown ")]
    assert owned.startswith("chown bisenet-edge: /")
    # Before anything is built: root changes no file that somebody else could have put there.
    assert trusting.calls.index(owned) < trusting.calls.index(dropped[0])


@pytest.mark.parametrize("service", [True, False])
def test_engines_of_somebody_else_are_not_used_fake_setpriv_and_tensorrt(trusting, bundle, tmp_path, service):
    """A lock that is a link, a plan from elsewhere: the folder goes as a whole, and no link is followed."""
    trusting.fake("python_fake", TENSORRT_FAKE)
    assert trusting.run(VERIFY, bundle.path).code == 0
    engines = trusting.prefix / "current" / "engines"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    (engines / "lock").symlink_to(elsewhere / "kept")
    (engines / "evil.plan").write_text("")
    (engines / "folder").symlink_to(elsewhere)
    trusting.fake(
        "stat", '#!/bin/sh\ncase $2 in *%U*) echo "directory mallory" ;; *) exec /usr/bin/stat "$@" ;; esac\n'
    )
    assert trusting.run(VERIFY, bundle.path, service=service).code == 0
    assert (trusting.fakes / "found").read_text().split() == ["new.plan"]
    assert (elsewhere / "kept").exists()


def test_the_services_own_engines_are_kept_fake_setpriv_and_tensorrt(trusting, bundle):
    trusting.fake("python_fake", TENSORRT_FAKE)
    assert trusting.run(VERIFY, bundle.path).code == 0
    (trusting.prefix / "current" / "engines" / "old.plan").write_text("")
    trusting.fake(
        "stat",
        '#!/bin/sh\ncase $2 in *%U*) echo "directory bisenet-edge" ;; *) exec /usr/bin/stat "$@" ;; esac\n',
    )
    assert trusting.run(VERIFY, bundle.path).code == 0
    assert (trusting.fakes / "found").read_text().split() == ["new.plan", "old.plan"]


def install_script(device, release):
    return device.prefix / "releases" / release / "install.sh"


@pytest.mark.parametrize("sick", [False, True])
def test_after_a_power_cut_the_same_command_again_fake_systemctl(serving, newer, sick):
    """Cut while it waited for a mask: the new release is current, and nobody knows whether it works."""
    before = serving.links["current"]
    (serving.fakes / "cut_at_health").write_text("")
    assert serving.run(VERIFY, newer.path).code == -9
    assert serving.links == {"current": release_of(newer), "previous": before}
    assert serving.status()["unconfirmed"] == release_of(newer)
    if sick:
        (serving.fakes / "silent").write_text(f"{release_of(newer)}\n")
    done = serving.run(VERIFY, newer.path)
    if sick:
        assert (done.code, done.out.splitlines()[-1]) == (1, f"step rollback ok {before}")
        assert (serving.links, serving.releases) == ({"current": before}, [before])
        assert (serving.fakes / "running").read_text().strip() == before
    else:
        assert done.code == 0, done.err
        assert serving.links == {"current": release_of(newer), "previous": before}
    assert serving.status()["unconfirmed"] == ""


def test_after_a_power_cut_back_to_what_ran_before_fake_systemctl(serving, newer):
    before = serving.links["current"]
    (serving.fakes / "cut_at_health").write_text("")
    assert serving.run(VERIFY, newer.path).code == -9
    done = serving.run(install_script(serving, release_of(newer)), "--rollback")
    assert (done.code, done.out) == (0, f"step rollback ok {before}\n"), done.err
    assert serving.links == {"current": before}
    assert serving.status()["unconfirmed"] == ""


def test_a_current_release_that_turned_sick_and_is_installed_again_fake_systemctl(serving, newer):
    first = serving.links["current"]
    assert serving.run(VERIFY, newer.path).code == 0
    (serving.fakes / "silent").write_text(f"{release_of(newer)}\n")
    done = serving.run(VERIFY, newer.path)
    assert (done.code, done.out.splitlines()[-1]) == (1, f"step rollback ok {first}")
    assert serving.links == {"current": first, "previous": release_of(newer)}
    assert (serving.fakes / "running").read_text().strip() == first


def test_a_rollback_to_what_does_not_run_is_taken_back_fake_systemctl(serving, newer):
    first = serving.links["current"]
    assert serving.run(VERIFY, newer.path).code == 0
    before = serving.links
    (serving.fakes / "silent").write_text(f"{first}\n")
    done = serving.run(install_script(serving, first), "--rollback")
    assert (done.code, serving.links) == (1, before)
    assert done.steps == [("rollback", "failed"), ("restore", "ok")]
    assert (serving.fakes / "running").read_text().strip() == before["current"]


def test_a_service_that_somebody_disabled_stays_so_fake_systemctl(serving, newer):
    (serving.fakes / "disabled").write_text("")
    (serving.fakes / "running").unlink()
    (serving.fakes / "calls").write_text("")
    done = serving.run(VERIFY, newer.path)
    assert done.code == 0, done.err
    assert "step health ok not checked: the service is disabled and stopped" in done.out
    assert not [call for call in serving.calls if call.startswith(("restart", "enable"))]


def test_a_service_is_enabled_when_it_has_its_source_fake_systemctl(trusting, bundle):
    assert trusting.run(VERIFY, bundle.path).code == 0
    trusting.settings.write_text("SOURCE=x\nSINKS=null://\n")
    assert trusting.run(VERIFY, bundle.path).code == 0
    assert trusting.calls.count("enable --quiet bisenet-edge.service") == 1


def test_a_service_needs_root(trusting, bundle):
    trusting.units.rmdir()
    done = trusting.run(VERIFY, bundle.path)
    assert (done.code, "installed by root" in done.err) == (1, True)


def test_its_words_for_a_mask_are_those_of_the_pipeline():
    """install.sh waits for a word of `describe`; only a status with a delivered mask has it."""
    from bisenet_edge.runtime.pipeline.service import describe
    from bisenet_edge.runtime.status import RunStatus

    none = RunStatus(1.0, 0.0, None, None, 0, 0, 0, 0)
    some = RunStatus(1.0, 9.0, 12.0, None, 9, 9, 0, 0)
    script = (data_folder("deploy") / "service.sh").read_text()
    assert "active:*'frame age'*" in script
    assert ("frame age" in describe(none), "frame age" in describe(some)) == (False, True)


def release_of(bundle):
    """Name of the release that a bundle becomes."""
    listing = subprocess.run(
        ["tar", "-xOf", bundle.path, f"{bundle.name}/SHA256SUMS"], capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["sha256sum"], input=listing, capture_output=True, check=True).stdout.decode()
    return f"{bundle.name}-{digest[:12]}"
