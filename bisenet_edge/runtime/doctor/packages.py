"""Which Debian packages a system has, from dpkg's own list: no dpkg is started."""

from __future__ import annotations

from typing import Dict

from bisenet_edge.runtime.sysroot import Sysroot


def installed_packages(files: Sysroot) -> Dict[str, str]:
    """Name -> version of every package that is fully installed; empty where there is no dpkg."""
    found: Dict[str, str] = {}
    for paragraph in files.text("/var/lib/dpkg/status").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line[:40])
        # "deinstall ok config-files" is a package that was removed; "half-installed" one that is broken.
        if fields.get("Status", "").endswith(" ok installed") and "Version" in fields:
            found[fields.get("Package", "")] = fields["Version"]
    return found
