from __future__ import annotations

import pytest

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.pipeline.service_environment import job_from_environment

SECRET = "rtsp://me:hunter2@camera/"


@pytest.mark.parametrize(
    ("sinks", "budget", "expected"),
    [
        ("null://", "", (("null://",), None)),
        (" a  b ", "33.3", (("a", "b"), 33.3)),
        ("a", "none", (("a",), None)),
        ("'a b' c", " 5 ", (("a b", "c"), 5.0)),
    ],
)
def test_what_the_service_runs_with(sinks, budget, expected):
    environ = {"SOURCE": SECRET, "SINKS": sinks, "LATENCY_BUDGET_MS": budget}
    assert job_from_environment(environ) == (SECRET, *expected)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "SOURCE is empty"),
        ({"SOURCE": " ", "SINKS": "a"}, "SOURCE is empty"),
        ({"SOURCE": SECRET}, "SINKS is empty"),
        ({"SOURCE": SECRET, "SINKS": "'a"}, "SINKS is not understood"),
        (
            {"SOURCE": SECRET, "SINKS": "a", "LATENCY_BUDGET_MS": SECRET},
            "LATENCY_BUDGET_MS is not understood",
        ),
        ({"SOURCE": SECRET, "SINKS": "a", "LATENCY_BUDGET_MS": "0"}, "LATENCY_BUDGET_MS"),
        ({"SOURCE": SECRET, "SINKS": "a", "LATENCY_BUDGET_MS": "nan"}, "LATENCY_BUDGET_MS"),
        ({"SOURCE": SECRET, "SINKS": "a", "LATENCY_BUDGET_MS": "inf"}, "LATENCY_BUDGET_MS"),
    ],
)
def test_a_wrong_setting_names_the_file_and_no_value(environ, says):
    with pytest.raises(UsageError) as error:
        job_from_environment(environ)
    assert says in str(error.value)
    assert "/etc/bisenet-edge/bisenet-edge.env" in error.value.fix
    assert "hunter2" not in str(error.value)
