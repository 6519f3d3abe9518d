"""What a sink needs that others do not is imported when that sink is opened."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("asyncio", "ssl", "gi", "paho")


def test_sinks_are_imported_without_what_one_of_them_needs():
    code = (
        "import sys\n"
        "from bisenet_edge.labels import CAMVID\n"
        "from bisenet_edge.runtime.sinks import open_sink\n"
        "open_sink('null://', CAMVID, 30.0).close()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "open_sink('http://127.0.0.1:0', CAMVID, 30.0).close()\n"
        "print('asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]
