"""The doctor on healthy boards, and with one thing wrong: the line says what, the remedy how to mend it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from sysroots import CSI_CAMERA, RELEASES, Tree, make_jetson, make_pc, meminfo
from test_jetson import EXPECTED, PAIRS

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime import doctor
from bisenet_edge.runtime.doctor.check import Check, as_text
from bisenet_edge.runtime.doctor.here import ELEMENTS, MODULES, Here, Probe
from bisenet_edge.runtime.doctor.speed import fastest_modes, power_modes
from bisenet_edge.runtime.doctor.subject import cuda_libraries, subject_of
from bisenet_edge.runtime.sysroot import Sysroot

ABSENT = {name: Probe(f"ModuleNotFoundError: No module named '{name}'") for name in MODULES}
REFUSED = Probe(told={"refusal": "there is no NVIDIA GPU: cudaErrorNoDevice (100)", "fix": "as CUDA says"})
CAPABILITY = {"32": "7.2", "35": "8.7", "36": "8.7", "38": "11.0", "39": "8.7"}  # of one of the boards
WITH_GSTREAMER = {"version": "4.8.0", "gstreamer": "YES (1.20.3)"}


def here_of(l4t: str, **changes) -> Here:
    """What a healthy board says of itself while it runs (put together by hand: no Jetson is here)."""
    system = RELEASES[l4t]
    version = system.tensorrt.partition("-")[0]
    modules = {
        **ABSENT,
        "numpy": Probe(told={"version": "1.21.5"}),
        "cv2": Probe(told=WITH_GSTREAMER),
        "tensorrt": Probe(told={"version": version}),
        "gi": Probe(told={"version": "GStreamer 1.20.3"}),
    }
    capability = [int(part) for part in CAPABILITY[l4t[:2]].split(".")]
    cuda = {
        "name": "Orin",
        "capability": capability,
        "library": "libcudart",
        "runtime": [12, 6],
        "driver": [12, 6],
    }
    healthy = Here(
        python="/usr/bin/python3",
        python_version=tuple(int(part) for part in system.python.split(".")),
        user="jetson",
        groups=frozenset({"jetson", "video"}),
        can_open=frozenset({"/dev/video0"}),
        modules=modules,
        elements=frozenset(ELEMENTS),
        cuda=Probe(told=cuda),
        disk_free_mb=20000,
    )
    changes["modules"] = {**modules, **changes.get("modules", {})}
    return replace(healthy, **changes)


def checks_of(tree: Tree, here: Here | None = None, made_for: str = "") -> dict[str, Check]:
    diagnosis = doctor.diagnose(replace(subject_of(tree.root, made_for), here=here))
    checks = {check.name: check for check in diagnosis.checks}
    assert len(checks) == len(diagnosis.checks)
    assert diagnosis.healthy == all(check.status != "problem" for check in checks.values())
    return checks


def can_be_pasted(remedy: str) -> bool:
    """A shell reads it without a complaint; nothing is run."""
    return subprocess.run(["bash", "-n", "-c", remedy], check=False).returncode == 0


def with_status(checks: dict[str, Check], *statuses: str) -> dict[str, str]:
    return {name: check.status for name, check in checks.items() if check.status in statuses}


@pytest.mark.parametrize(("board", "l4t"), [pair for pair in PAIRS if pair[1] >= "35"])
def test_a_healthy_board_has_nothing_to_mend(tmp_path, board, l4t):
    tree = make_jetson(tmp_path, board, l4t)
    for here in (here_of(l4t), None):
        checks = checks_of(tree, here, made_for=EXPECTED[board][1])
        assert with_status(checks, "warning", "problem") == {}
    # From files alone, only what a process tells is open.
    assert set(with_status(checks, "unknown")) <= {"engine", "group video"}
    assert RELEASES[l4t].tensorrt in checks["TensorRT"].found
    assert f"{EXPECTED[board][3]} ({EXPECTED[board][2]})" in checks["INT8"].found
    assert CSI_CAMERA in checks["cameras"].found


@pytest.mark.parametrize(("board", "l4t"), [pair for pair in PAIRS if pair[1] < "35"])
def test_jetpack_4_is_too_old_for_the_device_program(tmp_path, board, l4t):
    checks = checks_of(make_jetson(tmp_path, board, l4t))
    wrong = {"JetPack", "TensorRT", "Python"} | ({"INT8"} if board in ("nano", "tx2") else set())
    assert set(with_status(checks, "problem")) == wrong
    assert "JetPack 5.1 is the oldest" in checks["JetPack"].found
    assert "8.5 is the oldest" in checks["TensorRT"].found
    # A Xavier can have a later JetPack, a Nano and a TX2 cannot.
    later = "flash JetPack 5.1.6" if "xavier" in board else "use a Jetson Orin or newer"
    assert checks["JetPack"].remedy.startswith(later)


def on_a_pc(**changes) -> Here:
    """A PC with OpenVINO and pip's OpenCV; no GPU but by `changes`."""
    modules = {
        **ABSENT,
        "numpy": Probe(told={"version": "2.1"}),
        "cv2": Probe(told={"version": "5.0.0", "gstreamer": "NO"}),
        "openvino": Probe(told={"version": "2026.4.1-22982-e2"}),
    }
    modules.update(changes.pop("modules", {}))
    return here_of("36.4.3", **{"modules": modules, "cuda": REFUSED, **changes})


def test_a_pc_without_a_gpu_is_fit_and_its_jetson_lines_do_not_apply(tmp_path):
    tree = make_pc(tmp_path)
    checks = checks_of(tree, on_a_pc(), made_for="cpu")
    assert with_status(checks, "warning", "problem", "unknown") == {}
    jetson_lines = (
        "device",
        "JetPack",
        "CUDA",
        "TensorRT",
        "python3-libnvinfer",
        "NVIDIA elements",
        "clocks",
    )
    jetson_lines += ("power mode", "temperature", "jetson-stats", "nvargus-daemon", "group video", "cameras")
    assert set(jetson_lines) <= set(with_status(checks, "not applicable"))
    assert checks["engine"].found == "openvino 2026.4.1"
    assert "avx512_vnni" in checks["INT8"].found
    assert checks["bundle"].status == "ok"


def test_a_pc_with_a_gpu(tmp_path):
    tree = make_pc(tmp_path)
    told = {"name": "NVIDIA GeForce RTX 3060", "capability": [8, 6], "runtime": [12, 6], "driver": [12, 8]}
    checks = checks_of(tree, on_a_pc(cuda=Probe(told=told)))
    assert checks["device"].found == "this is no Jetson: NVIDIA GeForce RTX 3060"
    assert checks["INT8"] == Check("INT8", "ok", "compute capability 8.6 (NVIDIA GeForce RTX 3060)")
    assert checks["CUDA"].found == "NVIDIA GeForce RTX 3060: runtime 12.6, driver for 12.8"
    assert (checks["TensorRT"].status, checks["TensorRT"].remedy) == (
        "warning",
        "/usr/bin/python3 -m pip install tensorrt",
    )
    with_tensorrt = {"tensorrt": Probe(told={"version": "10.3"})}
    checks = checks_of(tree, on_a_pc(cuda=Probe(told=told), modules=with_tensorrt))
    assert checks["TensorRT"].status == "ok"
    assert checks["engine"].found == "tensorrt 10.3, openvino 2026.4.1"
    told = {**told, "capability": [5, 2]}
    assert checks_of(tree, on_a_pc(cuda=Probe(told=told)))["INT8"].status == "problem"


def test_a_pc_whose_gpu_only_nvidia_smi_shows(tmp_path):
    tree = make_pc(tmp_path)
    smi = {"nvidia-smi": "NVIDIA GeForce RTX 3060, 8.6, 550.54.14\n"}
    checks = checks_of(tree, on_a_pc(tools=smi))
    assert checks["INT8"].found == "compute capability 8.6 (NVIDIA GeForce RTX 3060)"
    assert (checks["CUDA"].status, checks["CUDA"].remedy) == ("warning", "as CUDA says")
    assert checks["CUDA"].found.startswith("driver 550.54.14, but there is no NVIDIA GPU")
    # A driver that does not answer prints a sentence instead.
    checks = checks_of(tree, on_a_pc(tools={"nvidia-smi": "NVIDIA-SMI has failed\n"}))
    assert checks["CUDA"].status == "not applicable"


def test_a_chip_that_is_in_no_table_is_asked(tmp_path):
    tree = make_jetson(tmp_path, "thor", "38.4.0")
    tree.write("/proc/device-tree/compatible", "nvidia,p9999-0000\0nvidia,tegra999\0")
    assert checks_of(tree)["INT8"].status == "unknown"
    told = {"name": "Next", "capability": [12, 1], "runtime": [13, 2], "driver": [13, 2]}
    check = checks_of(tree, here_of("38.4.0", cuda=Probe(told=told)))["INT8"]
    assert (check.status, check.found) == ("ok", "compute capability 12.1 (Next)")


# What is done to a healthy Orin Nano with JetPack 6.2, how the line then reads, and what mends it.
SPOILED = {
    "TensorRT of JetPack 5": (
        lambda t: (t.remove_package("libnvinfer10"), t.package("libnvinfer8", "8.5.2-1+cuda11.4")),
        ("TensorRT", "problem", "is for CUDA 11.4; JetPack 6.2 has 10.3.0 and CUDA 12.6", "apt-cache policy"),
    ),
    "a newer TensorRT": (
        lambda t: (t.remove_package("libnvinfer10"), t.package("libnvinfer10", "10.7.0.23-1+cuda12.6")),
        ("TensorRT", "warning", "10.7.0.23-1+cuda12.6; JetPack 6.2 has 10.3.0", "--reinstall nvidia-jetpack"),
    ),
    "bindings of another TensorRT": (
        lambda t: (
            t.remove_package("python3-libnvinfer"),
            t.package("python3-libnvinfer", "10.7.0.23-1+cuda12.6"),
        ),
        ("python3-libnvinfer", "problem", "two TensorRTs are mixed", "--reinstall python3-libnvinfer"),
    ),
    "no TensorRT": (
        lambda t: t.remove_package("libnvinfer10"),
        ("TensorRT", "problem", "no libnvinfer is installed", "install -y nvidia-jetpack"),
    ),
    "no bindings": (
        lambda t: (
            t.remove_package("python3-libnvinfer"),
            t.remove("/usr/lib/python3.10/dist-packages/tensorrt"),
        ),
        ("python3-libnvinfer", "problem", "not installed", "install -y python3-libnvinfer"),
    ),
    "bindings removed by apt": (
        lambda t: (
            t.remove_package("python3-libnvinfer"),
            t.remove("/usr/lib/python3.10/dist-packages/tensorrt"),
            t.package("python3-libnvinfer", "10.3.0.30-1+cuda12.5", "deinstall ok config-files"),
        ),
        ("python3-libnvinfer", "problem", "not installed", "install -y python3-libnvinfer"),
    ),
    "no CUDA runtime": (
        lambda t: t.remove("/usr/local/cuda-12.6"),
        ("CUDA", "problem", "runtime library is missing", "cuda-cudart-12-6"),
    ),
    "CUDA of JetPack 5": (
        lambda t: (
            t.remove("/usr/local/cuda-12.6"),
            t.write("/usr/local/cuda-11.4/targets/aarch64-linux/lib/libcudart.so.11.4.298"),
        ),
        ("CUDA", "problem", "runtime 11.4.298, but JetPack 6.2 has 12.6", "cuda-cudart-12-6"),
    ),
    "no driver": (
        lambda t: t.remove("/usr/lib/aarch64-linux-gnu/nvidia"),
        ("CUDA", "problem", "driver is missing", "nvidia-l4t-cuda"),
    ),
    "another board's system": (
        lambda t: t.write("/etc/nv_tegra_release", "# R38 (release), REVISION: 4.0, GCID: 1"),
        ("JetPack", "problem", "7.1 (L4T 38.4.0) is not for tegra234, but for tegra264", "SDK Manager"),
    ),
    "a release of the future": (
        lambda t: t.write("/etc/nv_tegra_release", "# R41 (release), REVISION: 1.0, GCID: 1"),
        ("JetPack", "unknown", "L4T 41.1.0 is in no table", "apt-cache show nvidia-jetpack"),
    ),
    "pip's OpenCV": (
        lambda t: t.write("/usr/local/lib/python3.10/dist-packages/opencv_python-4.10.0.dist-info/METADATA"),
        ("OpenCV", "warning", "without GStreamer, hides apt's", "pip uninstall -y opencv-python"),
    ),
    "no OpenCV": (
        lambda t: t.remove_package("python3-opencv"),
        ("OpenCV", "problem", "not installed", "sudo apt-get install -y python3-opencv"),
    ),
    "no gst-launch": (
        lambda t: t.remove("/usr/bin/gst-launch-1.0"),
        ("GStreamer", "warning", "missing", "gstreamer1.0-tools"),
    ),
    "no PyGObject": (
        lambda t: t.remove_package("python3-gi"),
        ("PyGObject", "warning", "not installed", "python3-gi"),
    ),
    "no Argus element, with a CSI camera": (
        lambda t: t.remove("/usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstnvarguscamerasrc.so"),
        ("NVIDIA elements", "problem", "missing: nvarguscamerasrc", "nvidia-l4t-gstreamer"),
    ),
    "no decoder": (
        lambda t: t.remove("/usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstnvvideo4linux2.so"),
        ("NVIDIA elements", "warning", "missing: nvv4l2decoder", "nvidia-l4t-gstreamer"),
    ),
    "no Argus daemon": (
        lambda t: t.remove("/tmp/argus_socket"),
        (
            "nvargus-daemon",
            "problem",
            "a CSI camera, but no /tmp/argus_socket",
            "systemctl restart nvargus-daemon",
        ),
    ),
    "a slow power mode": (
        lambda t: t.set_power_mode(0),
        ("power mode", "warning", "0 (15W) is slower than MAXN_SUPER", "sudo nvpmodel -m 2"),
    ),
    "a power mode without a name": (
        lambda t: t.set_power_mode(9),
        ("power mode", "warning", "9 (a mode without a name)", "sudo nvpmodel -m 2"),
    ),
    "no power mode": (
        lambda t: t.remove("/var/lib/nvpmodel"),
        ("power mode", "unknown", "has not written down", "sudo nvpmodel -q"),
    ),
    "power modes without a conf": (
        lambda t: t.remove("/etc/nvpmodel.conf"),
        ("power mode", "unknown", "which mode is the fastest is not known", ""),
    ),
    "loose clocks": (
        lambda t: t.pin_clocks("17000000.gpu", pinned=False),
        ("clocks", "warning", "not pinned: GPU, CPU", "sudo jetson_clocks"),
    ),
    "no clocks": (
        lambda t: t.remove("/sys/class/devfreq"),
        ("clocks", "unknown", "no frequencies of the GPU", ""),
    ),
    "throttled": (
        lambda t: t.set_temperature(99.5),
        ("temperature", "warning", "CPU-therm 100 C, passive at 99 C", "sudo jetson_clocks --fan"),
    ),
    "too hot": (
        lambda t: (t.set_temperature(103), t.set_temperature(104.5, zone=1)),
        ("temperature", "problem", "GPU-therm 104 C, critical at 104 C", "sudo jetson_clocks --fan"),
    ),
    "no sensors": (
        lambda t: t.remove("/sys/class/thermal"),
        ("temperature", "unknown", "no sensor with a limit", ""),
    ),
    "no memory": (
        lambda t: t.write("/proc/meminfo", meminfo(7802676, 100000, 3000000)),
        ("memory", "problem", "97 of 7619 MB available, 256 are needed", "multi-user.target"),
    ),
    "little memory": (
        lambda t: t.write("/proc/meminfo", meminfo(7802676, 600000, 3000000)),
        ("memory", "warning", "585 of 7619 MB available", "multi-user.target"),
    ),
    "no swap": (
        lambda t: t.write("/proc/meminfo", meminfo(7802676, 5000000, 0)),
        ("swap", "warning", "none beside 7619 MB of memory", "mkswap"),
    ),
    "a meminfo that is cut off": (
        lambda t: t.write("/proc/meminfo", "MemTotal:"),
        ("memory", "unknown", "no /proc/meminfo", ""),
    ),
    "jetson-stats without its service, seen from files": (
        lambda t: t.write("/etc/systemd/system/jtop.service"),
        ("jetson-stats", "unknown", "installed", ""),
    ),
    "jetson-stats with its service": (
        lambda t: (t.write("/etc/systemd/system/jtop.service"), t.write("/run/jtop.sock")),
        ("jetson-stats", "ok", "service active", ""),
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_one_thing_wrong_is_one_line_with_its_remedy(tmp_path, what):
    spoil, (name, status, says, remedy) = SPOILED[what]
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.3")
    before = checks_of(tree)
    spoil(tree)
    after = checks_of(tree)
    assert after[name].status == status
    assert says in after[name].found
    assert remedy in after[name].remedy
    assert can_be_pasted(after[name].remedy)
    # Nothing else became a problem, but for what the same cause has broken.
    same_cause = {"TensorRT of JetPack 5": "python3-libnvinfer", "a newer TensorRT": "python3-libnvinfer"}
    same_cause.update({"another board's system": "CUDA", "no decoder": ""})
    others = {n for n in after if (after[n].status, before[n].status) == ("problem", "ok")} - {name}
    assert others <= {same_cause.get(what, "")} | (
        {"TensorRT"} if what == "another board's system" else set()
    )


# Likewise for what only the running machine tells.
SAID = {
    "a virtual environment that hides TensorRT": (
        {"venv": "/home/jetson/venv", "sees_system": False, "modules": {"tensorrt": ABSENT["tensorrt"]}},
        (
            "python3-libnvinfer",
            "problem",
            "the virtual environment /home/jetson/venv hides",
            "/home/jetson/venv/pyvenv.cfg",
        ),
    ),
    "a virtual environment that hides PyGObject": (
        {"venv": "/home/jetson/venv", "sees_system": False, "modules": {"gi": ABSENT["gi"]}},
        ("PyGObject", "warning", "hides it", "include-system-site-packages = true"),
    ),
    "another Python": (
        {"python": "/opt/python3.12", "python_version": (3, 12), "modules": {"tensorrt": ABSENT["tensorrt"]}},
        (
            "python3-libnvinfer",
            "problem",
            "for Python 3.10; /opt/python3.12 is 3.12",
            "/usr/bin/python3.10 -m venv",
        ),
    ),
    "a Python that does not look there": (
        {"modules": {"tensorrt": ABSENT["tensorrt"]}},
        ("python3-libnvinfer", "problem", "does not find it", "import tensorrt"),
    ),
    "TensorRT that does not load": (
        {"modules": {"tensorrt": Probe("ImportError: libnvinfer.so.10: cannot open shared object file")}},
        ("python3-libnvinfer", "problem", "libnvinfer.so.10: cannot open", "--reinstall python3-libnvinfer"),
    ),
    "TensorRT of pip": (
        {"modules": {"tensorrt": Probe(told={"version": "10.13.3.9"})}},
        (
            "python3-libnvinfer",
            "problem",
            "bindings 10.13.3.9 beside libraries 10.3.0",
            "pip uninstall -y tensorrt",
        ),
    ),
    "TensorRT that is too old": (
        {"modules": {"tensorrt": Probe(told={"version": "8.4.1.5"})}},
        ("python3-libnvinfer", "problem", "8.5 is the oldest", "JetPack 5.1"),
    ),
    "OpenCV without GStreamer": (
        {"modules": {"cv2": Probe(told={"version": "4.10.0", "gstreamer": "NO"})}},
        ("OpenCV", "warning", "4.10.0, GStreamer: NO", "pip uninstall -y opencv-python"),
    ),
    "OpenCV that does not say": (
        {"modules": {"cv2": Probe(told={"version": "4.10.0"})}},
        ("OpenCV", "warning", "GStreamer: not said", "python3-opencv"),
    ),
    "an old OpenCV": (
        {"modules": {"cv2": Probe(told={"version": "4.2.0", "gstreamer": "YES (1.16)"})}},
        ("OpenCV", "problem", "4.5 is the oldest", "sudo apt-get install -y python3-opencv"),
    ),
    "numpy 2 before apt's OpenCV": (
        {"modules": {"cv2": Probe("ImportError: numpy.core.multiarray failed to import")}},
        ("OpenCV", "problem", "multiarray", "pip install 'numpy<2'"),
    ),
    "no numpy": (
        {
            "modules": {"numpy": ABSENT["numpy"]},
            "cuda": Probe("ModuleNotFoundError: No module named 'numpy'"),
        },
        ("OpenCV", "problem", "No module named 'numpy'", "python3-numpy"),
    ),
    "only a CPU engine": (
        {"modules": {"tensorrt": ABSENT["tensorrt"], "openvino": Probe(told={"version": "2026.4"})}},
        ("engine", "warning", "openvino 2026.4: the CPU computes, the GPU is idle", "python3-libnvinfer"),
    ),
    "no engine": (
        {"modules": {"tensorrt": ABSENT["tensorrt"], "openvino": Probe("the process was ended by SIGILL")}},
        (
            "engine",
            "problem",
            "can be imported (openvino: the process was ended by SIGILL)",
            "python3-libnvinfer",
        ),
    ),
    "a camera that may not be opened": (
        {"groups": frozenset({"jetson"}), "can_open": frozenset()},
        ("group video", "problem", "jetson may not open /dev/video0", "sudo usermod -aG video jetson"),
    ),
    "a GPU that may not be opened": (
        {"groups": frozenset({"jetson"}), "cuda": REFUSED},
        (
            "CUDA",
            "problem",
            "there is no NVIDIA GPU: cudaErrorNoDevice (100); jetson is not in group video",
            "usermod -aG video",
        ),
    ),
    "a GPU that CUDA does not open": (
        {"cuda": REFUSED},
        ("CUDA", "problem", "runtime 12.6.68, driver present, but there is no NVIDIA GPU", "nvidia-l4t-cuda"),
    ),
    "a CUDA that crashes": (
        {"cuda": Probe("the process was ended by SIGSEGV")},
        ("CUDA", "problem", "the process was ended by SIGSEGV", "nvidia-l4t-cuda"),
    ),
    "a plugin that does not load": (
        {"elements": frozenset(set(ELEMENTS) - {"nvvidconv"})},
        (
            "NVIDIA elements",
            "problem",
            "nvvidconv: the plugin is there and does not load",
            ".cache/gstreamer-1.0",
        ),
    ),
    "what nvpmodel says before what it has written down": (
        {"tools": {"nvpmodel": "NV Power Mode: 15W\n0\n"}},
        ("power mode", "warning", "0 (15W) is slower than MAXN_SUPER", "sudo nvpmodel -m 2"),
    ),
    "no room on the disk": (
        {"disk_free_mb": 100},
        ("disk", "problem", "100 MB free", "apt-get clean"),
    ),
    "little room on the disk": (
        {"disk_free_mb": 1500},
        ("disk", "warning", "1500 MB free", "apt-get clean"),
    ),
}


@pytest.mark.parametrize("what", SAID)
def test_what_the_running_machine_says_is_one_line_too(tmp_path, what):
    changes, (name, status, says, remedy) = SAID[what]
    check = checks_of(make_jetson(tmp_path, "orin-nano-8gb", "36.4.3"), here_of("36.4.3", **changes))[name]
    assert check.status == status
    assert says in check.found
    assert remedy in check.remedy
    assert can_be_pasted(check.remedy)


def test_ubuntu_24_wants_pip_to_be_told_twice(tmp_path):
    tree = make_jetson(tmp_path, "thor", "38.4.0")
    tree.write("/usr/lib/python3.12/EXTERNALLY-MANAGED")
    numpy2 = {"cv2": Probe("ImportError: numpy.core.multiarray failed to import")}
    here = here_of("38.4.0", modules=numpy2)
    remedy = "-m pip install 'numpy<2'"
    assert checks_of(tree, here)["OpenCV"].remedy == f"/usr/bin/python3 {remedy} --break-system-packages"
    venv = replace(here, venv="/home/jetson/venv", python="/home/jetson/venv/bin/python")
    assert checks_of(tree, venv)["OpenCV"].remedy == f"/home/jetson/venv/bin/python {remedy}"


def test_a_board_without_a_camera(tmp_path):
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.3")
    tree.remove("/dev/video0", "/tmp/argus_socket")
    checks = checks_of(tree, here_of("36.4.3"))
    assert checks["nvargus-daemon"].status == "not applicable"
    assert checks["group video"].status == "ok"
    assert checks_of(tree, here_of("36.4.3", groups=frozenset()))["group video"].status == "warning"
    tree.camera(1, "HD Pro Webcam C920")
    checks = checks_of(tree, here_of("36.4.3"))
    assert "/dev/video1 (HD Pro Webcam C920)" in checks["cameras"].found
    assert checks["nvargus-daemon"].status == "not applicable"
    assert checks["group video"].status == "problem"


def test_a_bundle_for_another_board_is_a_warning(tmp_path):
    tree = make_jetson(tmp_path, "agx-orin-64gb", "36.4.3")
    check = checks_of(tree, made_for="orin-nano")["bundle"]
    assert (check.status, check.remedy) == ("warning", "bisenet-edge deploy jetson --board agx-orin")
    assert "made for orin-nano, and this is Jetson AGX Orin 64GB" in check.found
    assert "bundle" not in checks_of(tree)


def test_engines_of_a_cpu(tmp_path):
    tree, here = make_pc(tmp_path), on_a_pc(modules={"openvino": ABSENT["openvino"]})
    assert checks_of(tree, here)["engine"].remedy == "/usr/bin/python3 -m pip install openvino"

    def engine(**modules):
        told = {name: Probe(told={"version": version}) for name, version in modules.items()}
        return checks_of(tree, replace(here, modules={**here.modules, **told}))["engine"]

    assert (engine(onnxruntime="1.23.2").status, engine(onnxruntime="1.23.2", onnx="1.16").status) == (
        "warning",
        "ok",
    )
    tree.write("/proc/cpuinfo", "flags : amx_int8 avx512_vnni\n")
    wrong = engine(onnxruntime="1.23.2", onnx="1.16")
    assert (wrong.status, "wrongly on CPUs with AMX" in wrong.found) == ("problem", True)
    assert engine(onnxruntime="1.25.0", onnx="1.16").status == "ok"
    assert engine(onnxruntime="1.20.1", onnx="1.16").status == "ok"
    # TensorRT without a GPU computes nothing.
    assert engine(tensorrt="10.3").status == "problem"
    tree.write("/proc/cpuinfo", "flags : avx2\n")
    assert checks_of(tree, here)["INT8"].status == "warning"


@pytest.mark.parametrize("folder", ["etc", "proc", "sys", "usr", "var", "dev", "tmp"])
@pytest.mark.parametrize("board", ["orin-nano-8gb", "thor"])
def test_a_half_empty_system_is_told_and_never_a_crash(tmp_path, board, folder):
    l4t = next(l4t for name, l4t in PAIRS if name == board)
    tree = make_jetson(tmp_path, board, l4t)
    shutil.rmtree(tree.at(folder))
    for here in (here_of(l4t), None):
        text = as_text(doctor.diagnose(replace(subject_of(tree.root), here=here)))
        assert "stop" in text


@pytest.mark.parametrize("content", ["", "\0\0\0", "\n\n: :\n= <>[]\n", "x" * 5000, "-1", "12 34 56"])
def test_damaged_files_are_never_a_crash(tmp_path, content):
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.3")
    for path in tree.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_text(content)
    for here in (here_of("36.4.3"), None):
        doctor.diagnose(replace(subject_of(tree.root), here=here)).to_json()


def test_power_modes_are_ordered_by_name_not_by_number():
    assert power_modes("< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n<POWER_MODEL ID=0 NAME=15W>") == {
        2: "MAXN_SUPER",
        0: "15W",
    }
    assert fastest_modes({0: "15W", 1: "7W", 2: "MAXN_SUPER", 3: "MAXN"}) == [2]
    assert fastest_modes({0: "MAXN", 1: "MODE_15W"}) == [0]
    assert fastest_modes({0: "MODE_15W_2CORE", 8: "MODE_20W_6CORE", 7: "MODE_20W_2CORE"}) == [8, 7]
    assert fastest_modes({0: "MODE_A"}) == fastest_modes({}) == []


def test_a_warning_without_a_remedy_cannot_be_written():
    with pytest.raises(ValueError, match="without a remedy"):
        Check("disk", "problem", "full")


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        doctor.examine(tmp_path / "nowhere")


def test_the_default_cuda_library_is_asked_first(tmp_path):
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.3")
    tree.write("/usr/local/cuda-13.0/targets/sbsa-linux/lib/libcudart.so.13")
    found = cuda_libraries(Sysroot(tree.root))
    assert found[0].startswith("/usr/local/cuda/targets/aarch64-linux/lib/libcudart.so.12")
    assert found[-1].endswith("libcudart.so.13")


def test_the_next_step_is_the_first_remedy(tmp_path):
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.3")
    assert doctor.next_step(doctor.examine(tree.root), "run") == "run"
    tree.remove_package("python3-opencv")
    diagnosis = doctor.examine(tree.root)
    assert doctor.next_step(diagnosis, "run") == "sudo apt-get install -y python3-opencv python3-numpy"
    told = json.loads(json.dumps(diagnosis.to_json()))
    assert (told["healthy"], told["jetson"]["board"], told["root"]) == (False, "orin-nano", str(tree.root))
