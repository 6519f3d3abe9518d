"""Sensors: fake system trees, lines of tegrastats made from its documentation, and a fake jtop."""

from __future__ import annotations

import sys
import types

import pytest
from sysfs_trees import agx_xavier, orin_nano, pc, put, thor, virtual_machine

from bisenet_edge.runtime.power.jtop import open_jtop
from bisenet_edge.runtime.power.reader import PowerReader, Reading, total_rail
from bisenet_edge.runtime.power.sysfs import SysfsReader, Throttles
from bisenet_edge.runtime.power.tegrastats import TegrastatsReader, parse, rails_mw

ORIN_NANO = (
    "11-19-2024 10:00:00 RAM 1810/7620MB (lfb 5x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [5%@729,3%@1510,off,off] EMC_FREQ 1%@2133 GR3D_FREQ 0%@[305] NVDEC off VIC off APE 200 "
    "cpu@49.3C soc2@47.8C tboard@60C gpu@47.9C tj@49.5C cv0@-256C "
    "VDD_IN 3921mW/4002mW VDD_CPU_GPU_CV 480mW/485mW VDD_SOC 1202mW/1210mW"
)
AGX_ORIN = (
    "RAM 13983/62780MB (lfb 424x4MB) CPU [90%@2201,100%@2201] EMC_FREQ 1%@2133 GR3D_FREQ 14%@[407,306] "
    "CV0@73.625C CPU@77.281C Tboard@62C Tdiode@62.25C GPU@69.125C tj@77.281C "
    "VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV 14312mW/12415mW VIN_SYS_5V0 4968mW/5048mW NC 0mW/0mW"
)
XAVIER_OLDER = (
    "RAM 2845/31919MB (lfb 6098x4MB) SWAP 0/15959MB (cached 0MB) CPU [1%@1190,0%@1190] EMC_FREQ 0%@1333 "
    "GR3D_FREQ 0%@114 AO@36.5C GPU@37C PMIC@100C CPU@38.5C thermal@37.15C IRAM 0/252kB(lfb 252kB) "
    "GPU 305/305 CPU 457/457 SOC 1221/1221 CV 0/0 VDDRQ 152/152 SYS5V 1560/1560"
)
THOR = (
    "05-17-2026 10:00:32 RAM 4208/125773MB (lfb 31x4MB) SWAP 0/2048MB (cached 0MB) CPU [1%@972,0%@1026] "
    "EMC_FREQ 0%@665 GR3D_FREQ @[0,0,0] NVENC0_FREQ @0 VIC off cpu@34.468C tj@34.5C soc012@33.781C "
    "VDD_GPU 0mW/0mW VDD_CPU_SOC_MSS 4165mW/4165mW VIN_SYS_5V0 4126mW/4126mW VIN 25296mW/25300mW"
)


def test_orin_nano_fake_tree(tmp_path):
    with PowerReader.open(orin_nano(tmp_path)) as reader:
        assert reader.read() == Reading(6000.0, 49.5, 625.0, 1510.0, ())
        assert reader.latest() == (49.5, 6000.0)
    assert (reader.source, reader.power_of) == ("sysfs", "VDD_IN")
    assert (reader.mode, reader.clocks_locked) == ("MAXN", True)


def test_agx_xavier_fake_tree(tmp_path):
    reader = PowerReader.open(agx_xavier(tmp_path))
    # 1900 + 950 + 1520 + 0 + 380 mW; a channel that is not connected does not count.
    assert reader.read() == Reading(4750.0, 43.5, 318.0, 2265.0, ())
    assert reader.power_of == "GPU + CPU + SOC + CV + VDDRQ"
    assert (reader.mode, reader.clocks_locked) == ("MODE_30W", False)


def test_thor_fake_tree(tmp_path):
    reader = PowerReader.open(thor(tmp_path))
    # A GPU that is off has no clock and no temperature: None, not 0.
    assert reader.read() == Reading(25296.0, 46.343, None, 972.0, ())
    assert (reader.power_of, reader.mode) == ("VIN", "")


def test_pc_fake_tree_integrates_rapl(tmp_path):
    now_ns = 0
    reader = SysfsReader(pc(tmp_path), lambda: now_ns)
    assert (reader.power_of, reader.clocks_locked) == ("CPU package (RAPL)", False)
    # No time has passed, so there is no power yet.
    assert reader.read() == Reading(None, 61.0, None, 4200.0, ())
    now_ns += 500_000_000
    put(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": 8_500_000})
    assert reader.latest() == (61.0, pytest.approx(15_000))
    assert reader.latest() == (61.0, pytest.approx(15_000))  # asked again at once: what was
    now_ns += 1_000_000_000
    put(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": 500_000})
    wrapped_uj = 262_143_328_850 - 8_500_000 + 500_000
    assert reader.latest()[1] == pytest.approx(wrapped_uj / 1e3)


def test_rapl_that_only_root_may_read_is_not_available(tmp_path):
    counter = pc(tmp_path) / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    counter.mkdir()  # cannot be read by root either
    reader = PowerReader.open(tmp_path)
    assert reader.power_of == ""
    assert reader.latest() == (61.0, None)


@pytest.mark.parametrize("tree", [lambda root: root, virtual_machine])
def test_a_machine_that_tells_nothing_is_none_not_zero(tmp_path, tree):
    with PowerReader.open(tree(tmp_path)) as reader:
        assert reader.read() == Reading()
        assert reader.latest() == (None, None)
    assert (reader.source, reader.power_of, reader.mode, reader.clocks_locked) == ("none", "", "", None)


def test_a_pc_without_cpufreq_has_the_clock_of_cpuinfo(tmp_path):
    put(tmp_path, {"proc/cpuinfo": "flags\t: fpu vme\ncpu MHz\t: 800.0\ncpu MHz\t: 3600.5\n"})
    assert PowerReader.open(tmp_path).read().cpu_mhz == 3600.5


def test_the_modes_of_an_image_are_read_through_its_links(tmp_path):
    root = orin_nano(tmp_path)
    (root / "etc/nvpmodel").mkdir()
    (root / "etc/nvpmodel.conf").rename(root / "etc/nvpmodel/nvpmodel_p3767.conf")
    (root / "etc/nvpmodel.conf").symlink_to("/etc/nvpmodel/nvpmodel_p3767.conf")
    assert PowerReader.open(root).mode == "MAXN"


def test_throttling_is_remembered(tmp_path):
    reader = PowerReader.open(orin_nano(tmp_path))
    alert = "sys/class/thermal/cooling_device1/cur_state"
    put(tmp_path, {alert: 1, "sys/class/thermal/cooling_device0/cur_state": 9})  # a fan is no throttle
    assert reader.read().throttled == ("gpu-throttle-alert",)
    put(tmp_path, {alert: 0, "sys/class/hwmon/hwmon4/oc3_event_cnt": 8})
    assert reader.read().throttled == ("gpu-throttle-alert", "over-current oc3")
    assert PowerReader.open(tmp_path).read().throttled == ()


def test_a_hot_package_counts_up(tmp_path):
    reader = PowerReader.open(pc(tmp_path))
    assert reader.read().throttled == ()
    put(tmp_path, {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": 4})
    assert reader.read().throttled == ("CPU package too hot",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (ORIN_NANO, Reading(3921.0, 49.5, 305.0, 1510.0)),
        (AGX_ORIN, Reading(3150.0 + 14312 + 4968, 77.281, 407.0, 2201.0)),
        (XAVIER_OLDER, Reading(305.0 + 457 + 1221 + 0 + 152 + 1560, 38.5, 114.0, 1190.0)),
        (THOR, Reading(25296.0, 34.5, None, 1026.0)),
        ("", Reading()),
        ("RAM 1/2MB CPU [off,off] GR3D_FREQ 0%", Reading()),
    ],
)
def test_lines_of_tegrastats(line, expected):
    assert parse(line) == expected


def test_rails_of_tegrastats_are_named():
    assert set(rails_mw(AGX_ORIN)) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}
    assert set(rails_mw(XAVIER_OLDER)) == {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"}


def test_tegrastats_is_followed_while_it_runs_fake_program(tmp_path):
    program = f"import sys, time; print({ORIN_NANO!r}, flush=True); time.sleep(60)"
    with TegrastatsReader([sys.executable, "-c", program], Throttles(tmp_path)) as reader:
        reader._told.wait(30)  # a machine under load starts Python slowly
        assert (reader.source, reader.power_of) == ("tegrastats", "VDD_IN")
        assert reader.latest() == (49.5, 3921.0)
    # Ended: its last line is not the present.
    assert reader.read() == Reading()
    reader.close()


def test_no_rail_no_power():
    assert total_rail({}) == ("", None)
    assert total_rail({"VDD_SOC": 1.0, "VDD_IN": 5.0, "VIN": 9.0}) == ("VIN", 9.0)


class FakeJtopError(Exception):
    pass


class FakeJtop:
    """What `jtop.jtop` shows, by its documentation."""

    active = True

    def __init__(self, interval):
        assert interval > 0
        self.open = False
        self.power = {"rail": {"VDD_SOC": {"power": 900}}, "tot": {"power": 5100, "name": "VDD_IN"}}
        self.temperature = {"cpu": {"temp": 50.5, "online": True}, "cv0": {"temp": -256, "online": False}}
        self.gpu = {"gpu": {"freq": {"cur": 624750}}}
        self.cpu = {"cpu": [{"online": True, "freq": {"cur": 1510400}}, {"online": False}]}
        self.nvpmodel = types.SimpleNamespace(name="15W")
        self.jetson_clocks = True

    def start(self):
        if not self.active:
            raise FakeJtopError("The jtop.service is not active")
        self.open = True

    def ok(self):
        return True

    def close(self):
        self.open = False


@pytest.fixture
def fake_jtop(monkeypatch):
    package, core, errors = (types.ModuleType(n) for n in ("jtop", "jtop.core", "jtop.core.exceptions"))
    package.jtop = FakeJtop  # type: ignore[attr-defined]
    package.__spec__ = types.SimpleNamespace(name="jtop")  # type: ignore[assignment]
    errors.JtopException = FakeJtopError  # type: ignore[attr-defined]
    for module in (package, core, errors):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_jtop_is_asked_where_it_is_installed_fake(fake_jtop):
    with PowerReader.open() as reader:
        assert reader.read() == Reading(5100.0, 50.5, 624.75, 1510.4, ())
    assert (reader.source, reader.power_of) == ("jtop", "VDD_IN")
    assert (reader.mode, reader.clocks_locked) == ("15W", True)
    assert not reader._client.open


def test_jtop_without_its_service_is_not_used_fake(fake_jtop, monkeypatch, tmp_path):
    monkeypatch.setattr(FakeJtop, "active", False)
    assert open_jtop(Throttles(tmp_path)) is None


def test_a_foreign_tree_is_never_asked_of_jtop_fake(fake_jtop, tmp_path):
    assert PowerReader.open(orin_nano(tmp_path)).source == "sysfs"


def test_jtop_is_not_imported_where_it_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert open_jtop(Throttles(tmp_path)) is None
    assert "jtop" not in sys.modules
