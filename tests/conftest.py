"""What all tests share."""

from __future__ import annotations

import os

# Before anything imports torch: spinning OpenMP threads starve every other process on a small machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
