"""Cameras and what brings their pictures: GStreamer, NVIDIA's elements, the Argus daemon, permissions."""

from __future__ import annotations

from typing import Dict, List

from bisenet_edge.runtime.doctor.check import NOT_APPLICABLE, OK, PROBLEM, UNKNOWN, WARNING, Check
from bisenet_edge.runtime.doctor.device import NO_JETSON
from bisenet_edge.runtime.doctor.here import ELEMENTS, Probe
from bisenet_edge.runtime.doctor.subject import NOT_FROM_FILES, Subject

ARGUS_SOCKET = "/tmp/argus_socket"
_TOOL = "/usr/bin/gst-launch-1.0"
_PLUGINS = {
    "nvarguscamerasrc": "libgstnvarguscamerasrc.so",
    "nvvidconv": "libgstnvvidconv.so",
    "nvv4l2decoder": "libgstnvvideo4linux2.so",
    "nvv4l2camerasrc": "libgstnvv4l2camerasrc.so",
}
_FOR_CSI = {"nvarguscamerasrc", "nvvidconv"}
_APT_GSTREAMER = (
    "sudo apt-get install -y gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
)
_APT_GI = "sudo apt-get install -y python3-gi gir1.2-gst-plugins-base-1.0"
# Plugins that failed once are on a list and not tried again.
_FORGET = "rm -rf ~/.cache/gstreamer-1.0"


def camera_checks(subject: Subject) -> List[Check]:
    """Tools, bindings, elements, cameras, permission, daemon."""
    nodes = camera_nodes(subject)
    return [
        _tools(subject),
        _bindings(subject),
        _elements(subject, nodes),
        _cameras(subject, nodes),
        _permission(subject, nodes),
        _argus(subject, nodes),
    ]


def camera_nodes(subject: Subject) -> Dict[str, str]:
    """Node -> name of each video device: {"/dev/video0": "vi-output, imx219 9-0010"}."""
    return {
        node: subject.files.text(f"/sys/class/video4linux/{node.rpartition('/')[2]}/name")
        for node in subject.files.glob("/dev/video*")
    }


def _has_csi(nodes: Dict[str, str]) -> bool:
    """A sensor on the camera connector shows as "vi-output, SENSOR BUS-ADDRESS"."""
    return any(name.startswith("vi-output") for name in nodes.values())


def _tools(subject: Subject) -> Check:
    name = "GStreamer"
    if subject.files.exists(_TOOL):
        return Check(name, OK, _TOOL)
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, "not installed; OpenCV reads files and USB cameras by itself")
    return Check(name, WARNING, "gst-launch-1.0 is missing: no CSI camera", _APT_GSTREAMER)


def _bindings(subject: Subject) -> Check:
    name, here = "PyGObject", subject.here
    installed = subject.packages.get("python3-gi", "")
    if here is None:
        if installed:
            return Check(name, OK, f"{installed} (whether it can be imported: on the machine itself)")
        status = WARNING if subject.jetson else NOT_APPLICABLE
        return Check(name, status, "not installed", _APT_GI if subject.jetson else "")
    probe = here.modules.get("gi", Probe("not tried"))
    if probe.works:
        return Check(name, OK, probe.version)
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, "not installed for this Python; not needed without a CSI camera")
    if installed and here.venv and not here.sees_system:
        option = "include-system-site-packages"
        remedy = f"sed -i 's/^{option} *=.*/{option} = true/' {here.venv}/pyvenv.cfg"
        return Check(name, WARNING, f"installed, but the virtual environment {here.venv} hides it", remedy)
    return Check(name, WARNING, probe.error, _APT_GI)


def _elements(subject: Subject, nodes: Dict[str, str]) -> Check:
    name, here = "NVIDIA elements", subject.here
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, NO_JETSON)
    plugins = {
        element
        for element, file in _PLUGINS.items()
        if subject.files.glob(f"/usr/lib/*-linux-gnu/gstreamer-1.0/{file}")
    }
    loaded = here.elements if here is not None and here.elements is not None else plugins
    missing = [element for element in ELEMENTS if element not in loaded]
    if not missing:
        return Check(name, OK, ", ".join(ELEMENTS))
    stops = _has_csi(nodes) and bool(_FOR_CSI & set(missing))
    broken = sorted(plugins & set(missing))
    if broken:
        remedy = f"{_FORGET}; gst-inspect-1.0 {broken[0]}"
        found = f"{', '.join(broken)}: the plugin is there and does not load"
    else:
        remedy = "sudo apt-get install -y --reinstall nvidia-l4t-gstreamer"
        found = f"missing: {', '.join(missing)}"
    return Check(name, PROBLEM if stops else WARNING, found, remedy)


def _cameras(subject: Subject, nodes: Dict[str, str]) -> Check:
    name = "cameras"
    if nodes:
        told = [f"{node} ({text or 'without a name'})" for node, text in nodes.items()]
        return Check(name, OK, ", ".join(told))
    found = "none: only files, RTSP and synthetic streets"
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, found)
    if not subject.files.live:
        return Check(name, UNKNOWN, NOT_FROM_FILES)
    # A CSI camera is not found by itself: the connector must be told which sensor it has.
    return Check(name, WARNING, found, "sudo /opt/nvidia/jetson-io/jetson-io.py")


def _permission(subject: Subject, nodes: Dict[str, str]) -> Check:
    name, here = "group video", subject.here
    if here is None:
        return Check(name, UNKNOWN, NOT_FROM_FILES)
    locked = [node for node in nodes if node not in here.can_open]
    if locked:
        remedy = f"sudo usermod -aG video {here.user} && exec su - {here.user}"
        return Check(name, PROBLEM, f"{here.user} may not open {', '.join(locked)}", remedy)
    if nodes:
        return Check(name, OK, f"{here.user} may open every camera")
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, "no camera")
    if here.user == "root" or "video" in here.groups:
        return Check(name, OK, f"{here.user} may open cameras and the GPU")
    remedy = f"sudo usermod -aG video {here.user} && exec su - {here.user}"
    return Check(name, WARNING, f"{here.user} is not in it: no camera may be opened", remedy)


def _argus(subject: Subject, nodes: Dict[str, str]) -> Check:
    name = "nvargus-daemon"
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, NO_JETSON)
    if subject.files.exists(ARGUS_SOCKET):
        return Check(name, OK, ARGUS_SOCKET)
    if not _has_csi(nodes):
        return Check(name, NOT_APPLICABLE, "no CSI camera")
    return Check(
        name, PROBLEM, f"a CSI camera, but no {ARGUS_SOCKET}", "sudo systemctl restart nvargus-daemon.service"
    )
