"""Fake system trees: what the kernel and JetPack show of boards that are not at hand.

Values are made up; names and units are those of the kernel's documentation and NVIDIA's Jetson Linux guide.
"""

from __future__ import annotations

from pathlib import Path


def put(root: Path, files: dict[str, object]) -> Path:
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def rails(chip: str, named: list[tuple[str, int, int]], driver: str = "ina3221") -> dict[str, object]:
    """An INA monitor: (label, mV, mA) per channel, no power*_input as on newer kernels."""
    files: dict[str, object] = {f"sys/class/hwmon/{chip}/name": driver}
    for number, (label, voltage_mv, current_ma) in enumerate(named, 1):
        folder = f"sys/class/hwmon/{chip}"
        files[f"{folder}/in{number}_label"] = label
        files[f"{folder}/in{number}_input"] = voltage_mv
        files[f"{folder}/curr{number}_input"] = current_ma
    return files


def zones(named: list[tuple[str, object]]) -> dict[str, object]:
    files: dict[str, object] = {}
    for number, (kind, temperature) in enumerate(named):
        files[f"sys/class/thermal/thermal_zone{number}/type"] = kind
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = temperature
    return files


def gpu(name: str, cur_mhz: int, min_mhz: int, max_mhz: int) -> dict[str, object]:
    values = {"cur_freq": cur_mhz, "min_freq": min_mhz, "max_freq": max_mhz}
    return {f"sys/class/devfreq/{name}/{file}": mhz * 1_000_000 for file, mhz in values.items()}


def cpu(cur_mhz: list[int], min_mhz: int, max_mhz: int) -> dict[str, object]:
    files: dict[str, object] = {}
    for number, mhz in enumerate(cur_mhz):
        folder = f"sys/devices/system/cpu/cpufreq/policy{4 * number}"
        values = {"scaling_cur_freq": mhz, "scaling_min_freq": min_mhz, "scaling_max_freq": max_mhz}
        files.update({f"{folder}/{file}": 1000 * value for file, value in values.items()})
    return files


def power_mode(number: int) -> dict[str, object]:
    modes = "\n".join(
        f"< POWER_MODEL ID={i} NAME={name} >" for i, name in enumerate(("MAXN", "MODE_15W", "MODE_30W"))
    )
    return {"var/lib/nvpmodel/status": f"pmode:{number:04d}", "etc/nvpmodel.conf": f"# models\n{modes}"}


def orin_nano(root: Path) -> Path:
    """One rail feeds the others; clocks locked by jetson_clocks."""
    named = [("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 300), ("VDD_SOC", 5000, 250)]
    files = {
        **rails("hwmon1", [*named, ("sum of shunt voltages", 0, 0)]),
        **zones(
            [("cpu-thermal", 49300), ("gpu-thermal", 48100), ("cv0-thermal", -256000), ("tj-thermal", 49500)]
        ),
        **gpu("17000000.gpu", 625, 625, 625),
        **cpu([1510, 1510], 1510, 1510),
        **power_mode(0),
        "sys/class/hwmon/hwmon4/name": "soctherm_oc",
        "sys/class/hwmon/hwmon4/oc3_event_cnt": 7,
        "sys/class/thermal/cooling_device0/type": "pwm-fan",
        "sys/class/thermal/cooling_device0/cur_state": 2,
        "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert",
        "sys/class/thermal/cooling_device1/cur_state": 0,
    }
    return put(root, files)


def agx_xavier(root: Path) -> Path:
    """No rail feeds all others: the sum counts; clocks free; a zone that is no chip."""
    files = {
        **rails("hwmon2", [("GPU", 19000, 100), ("CPU", 19000, 50), ("SOC", 19000, 80)]),
        **rails("hwmon3", [("CV", 19000, 0), ("VDDRQ", 19000, 20), ("NC", 0, 0)]),
        **zones([("CPU-therm", 41000), ("GPU-therm", 43500), ("PMIC-Die", 100000), ("Tboard_tegra", 36000)]),
        **gpu("17000000.gv11b", 318, 114, 1377),
        **cpu([1190, 2265], 1190, 2265),
        **power_mode(2),
    }
    return put(root, files)


def thor(root: Path) -> Path:
    """The supply of the board on an INA238 (in uW); the GPU is off, so its zone cannot be read."""
    named = [("VDD_GPU", 20000, 0), ("VDD_CPU_SOC_MSS", 20000, 215), ("VIN_SYS_5V0", 5000, 965)]
    files = {
        **rails("hwmon0", named),
        "sys/class/hwmon/hwmon1/name": "ina238",
        "sys/class/hwmon/hwmon1/power1_input": 25_296_000,
        "sys/class/hwmon/hwmon1/in1_input": 20000,
        "sys/class/hwmon/hwmon1/curr1_input": 1265,
        **zones(
            [("cpu-thermal", 45031), ("soc012-thermal", 45250), ("gpu-thermal", ""), ("tj-thermal", 46343)]
        ),
        **gpu("gpu-gpc-0", 0, 306, 1575),
        **gpu("gpu-nvd-0", 900, 306, 1692),
        **cpu([972], 972, 2601),
    }
    return put(root, files)


def pc(root: Path) -> Path:
    """RAPL with one package and a part of it, coretemp, and zones of other things."""
    rapl = "sys/class/powercap/intel-rapl"
    files = {
        f"{rapl}:0/name": "package-0",
        f"{rapl}:0/energy_uj": 1_000_000,
        f"{rapl}:0/max_energy_range_uj": 262_143_328_850,
        f"{rapl}:0:0/name": "core",
        f"{rapl}:0:0/energy_uj": 400_000,
        "sys/class/hwmon/hwmon0/name": "coretemp",
        "sys/class/hwmon/hwmon0/temp1_input": 61000,
        "sys/class/hwmon/hwmon1/name": "nvme",
        "sys/class/hwmon/hwmon1/temp1_input": 70000,
        **zones([("acpitz", 27800), ("iwlwifi_1", 71000)]),
        **cpu([800, 4200], 800, 4800),
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": 3,
    }
    return put(root, files)


def virtual_machine(root: Path) -> Path:
    """No sensors; a clock that is the same constant on every day."""
    core = "processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\ncpu MHz\t\t: 2599.998\n"
    return put(root, {"proc/cpuinfo": core})
