from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from bisenet_edge.toolchain.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    first, second = (torch.empty(2**24).fill_(value) for value in (1.0, 2.0))
    return float((first + second)[-1])
for _ in range(16):  # until the heap is as large as it gets
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
assert [step() for _ in range(3)] == [3.0] * 3
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose mallopt this sets")
def test_once_warm_steps_touch_no_new_memory():
    def faults(word):
        told = subprocess.run([sys.executable, "-c", STEPS, word], capture_output=True, text=True, check=True)
        return int(told.stdout)

    assert faults("keep") < 0.1 * faults("leave")
