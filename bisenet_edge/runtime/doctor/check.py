"""One line of the doctor's report, and the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

from bisenet_edge.runtime.jetson import JetsonInfo

OK, WARNING, PROBLEM, UNKNOWN, NOT_APPLICABLE = "ok", "warning", "problem", "unknown", "not applicable"
STATUSES = (OK, WARNING, PROBLEM, UNKNOWN, NOT_APPLICABLE)


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to do about it.

    Attributes:
        name: what was looked at.
        status: one of `STATUSES`. A problem stops the job; a warning costs speed, or stops a part of it.
        found: what was found, in words.
        remedy: a command to paste where there is one; "" where nothing is to be done.
    """

    name: str
    status: str
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.status in (WARNING, PROBLEM) and not self.remedy:
            raise ValueError(f"{self.name}: a {self.status} without a remedy")


@dataclass(frozen=True)
class Diagnosis:
    """All checks of one machine.

    Attributes:
        root: "/" or the folder that was looked at.
        jetson: which Jetson it is; None = none.
        checks: in the order of the report.
    """

    root: str
    jetson: Optional[JetsonInfo]
    checks: Tuple[Check, ...]

    @property
    def problems(self) -> List[Check]:
        """What would stop the job."""
        return [check for check in self.checks if check.status == PROBLEM]

    @property
    def healthy(self) -> bool:
        """Nothing would stop the job."""
        return not self.problems

    def to_json(self) -> Dict[str, Any]:
        """As JSON."""
        return {
            "root": self.root,
            "healthy": self.healthy,
            "jetson": self.jetson.to_json() if self.jetson else None,
            "checks": [asdict(check) for check in self.checks],
        }


def as_text(diagnosis: Diagnosis) -> str:
    """The report for people: a table, each remedy under its line, and the verdict."""
    names = max(len(check.name) for check in diagnosis.checks)
    statuses = max(len(check.status) for check in diagnosis.checks)
    lines = [
        f"{'check'.ljust(names)}  {'status'.ljust(statuses)}  found",
        f"{'-' * names}  {'-' * statuses}  {'-' * len('found')}",
    ]
    for check in diagnosis.checks:
        lines.append(f"{check.name.ljust(names)}  {check.status.ljust(statuses)}  {check.found}")
        if check.remedy:
            lines.append(f"    fix: {check.remedy}")
    counts = [(status, sum(c.status == status for c in diagnosis.checks)) for status in STATUSES]
    told = ", ".join(f"{count} {status}" for status, count in counts if count)
    verdict = "nothing stops the job" if diagnosis.healthy else "PROBLEMS stop the job"
    return "\n".join([*lines, "", f"{told}: {verdict}"])
