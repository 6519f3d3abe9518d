"""Every keyword that we pass exists in every release: Torch-TensorRT itself would swallow a wrong one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch_tensorrt_double import REGISTER, TO_MODULE, TO_PLAN, VERSIONS, listing, signature

from bisenet_edge.errors import UsageError
from bisenet_edge.toolchain.torch_tensorrt.compiler import OUTPUT
from bisenet_edge.toolchain.torch_tensorrt.quantize_op import MODELOPT
from bisenet_edge.toolchain.torch_tensorrt.releases import RELEASES, dotted
from bisenet_edge.toolchain.torch_tensorrt.settings import (
    FORMS,
    PRECISIONS,
    Settings,
    computes_in_half,
    keywords,
)

EVERYTHING = {
    "workspace_mb": 512,
    "optimization_level": 5,
    "num_avg_timing_iters": 4,
    "hardware_compatible": True,
    "version_compatible": True,
    "sparse_weights": True,
    "timing_cache_path": Path("timing.cache"),
}
RELEASE = {dotted(release.version): release for release in RELEASES}
FUNCTION = {"plan": TO_PLAN, "exported-program": TO_MODULE, "dry-run": TO_MODULE}
ABSENT = {("2.8.0", "plan"): {"hardware_compatible"}}
"""Options that a release lacks, by what is made."""


def unknown(version, function, passed):
    return {name for name in passed if name not in signature(version, function).parameters}


def everything_but(absent, form):
    return Settings(form=form, **{k: v for k, v in EVERYTHING.items() if k not in absent})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_keyword_that_we_pass_exists(version, form):
    settings = everything_but(ABSENT.get((version, form), set()), form)
    passed = keywords(settings, RELEASE[version], int8=True)
    assert len(passed) >= len(EVERYTHING)
    assert not unknown(version, FUNCTION[form], [*passed, "arg_inputs"])
    # The program is the one argument that must be given.
    parameters = signature(version, FUNCTION[form]).parameters.values()
    assert [p.name for p in parameters if p.default is p.empty] == ["exported_program"]


@pytest.mark.parametrize(
    ("version", "function", "planted"),
    [
        ("2.13.0", TO_PLAN, "not_an_option"),
        ("2.13.0", TO_MODULE, "enabled_precisions"),
        ("2.8.0", TO_PLAN, "hardware_compatible"),
        ("2.14.0", TO_PLAN, "enable_autocast"),
    ],
)
def test_a_planted_wrong_keyword_is_found(version, function, planted):
    assert unknown(version, function, ["arg_inputs", planted]) == {planted}
    with pytest.raises(TypeError, match=planted):
        signature(version, function).bind(None, arg_inputs=[], **{planted: 1})


@pytest.mark.parametrize("version", VERSIONS)
def test_the_rest_of_what_we_call_exists(version):
    assert not unknown(version, TO_MODULE, ["dryrun"])
    assert not unknown(version, "save", ["module", "file_path", "output_format", "arg_inputs", "retrace"])
    assert not unknown(version, "load", ["file_path"])
    assert not unknown(version, REGISTER, ["key", "capability_validator", "priority"])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_code_takes_for_granted(version):
    recorded = listing(version)
    assert all(recorded["functions"][f]["swallows_others"] for f in (TO_PLAN, TO_MODULE))
    assert "enable_autocast" not in signature(version, TO_PLAN).parameters
    assert recorded["quantize_op"]["needs_import"] == [MODELOPT]
    assert recorded["quantize_op"]["kept_from_folding_needs_import"] == [MODELOPT]
    assert recorded["quantize_op"]["kept_from_folding_needs_operators"] == [
        "torch.ops.tensorrt.dynamic_block_quantize_op.default",
        "torch.ops.tensorrt.quantize_op.default",
    ]
    # Should it learn this, our converter can go.
    assert "torch.uint8" not in recorded["to_copy_casts_to"]
    assert {"torch.float", "torch.float16"} <= set(recorded["to_copy_casts_to"])
    assert recorded["output_name"] == OUTPUT
    assert "optimization_level" in recorded["classes"]["dynamo.CompilationSettings"]
    assert "gpu_id" in recorded["classes"]["Device"]


@pytest.mark.parametrize(("version", "form"), ABSENT)
def test_an_option_that_a_release_lacks_is_an_error(version, form):
    for option in ABSENT[version, form]:
        settings = Settings(form=form, **{option: EVERYTHING[option]})
        with pytest.raises(UsageError) as caught:
            keywords(settings, RELEASE[version], int8=True)
        assert caught.value.got == f"{option} with torch-tensorrt {version}"
        assert caught.value.expected == "torch-tensorrt 2.9 or newer"
        assert option in signature("2.9.0", FUNCTION[form]).parameters


def test_every_option_reaches_the_compiler_changed_only_in_its_unit():
    passed = keywords(Settings(**EVERYTHING), RELEASE["2.13.0"], int8=True)
    assert passed.pop("workspace_size") == 512 * 1024 * 1024
    assert passed.pop("timing_cache_path") == str(Path("timing.cache").absolute())
    assert passed == {
        "min_block_size": 1,
        "require_full_compilation": True,
        "optimization_level": 5,
        "num_avg_timing_iters": 4,
        "hardware_compatible": True,
        "version_compatible": True,
        "sparse_weights": True,
    }
    assert {f.name for f in fields(Settings)} == {*EVERYTHING, "form", "precision"}


def test_what_is_not_set_is_not_passed():
    assert set(keywords(Settings(), RELEASE["2.13.0"], int8=True)) == {
        "min_block_size",
        "require_full_compilation",
    }
    # A dry run is to say what is missing, not to stop at it.
    assert not keywords(Settings("dry-run"), RELEASE["2.13.0"], int8=True)["require_full_compilation"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_fp16_is_asked_for_in_the_way_of_the_release(version, precision):
    settings, release = Settings(precision=precision), RELEASE[version]
    allowed = keywords(settings, release, int8=True).get("enabled_precisions")
    if version in ("2.8.0", "2.9.0"):
        halves = {torch.float16} if precision == "fp16" else set()
        assert allowed == {torch.float32, torch.int8} | halves
        assert torch.int8 not in keywords(settings, release, int8=False)["enabled_precisions"]
        assert not computes_in_half(settings, release)
    else:
        assert allowed is None
        assert computes_in_half(settings, release) == (precision == "fp16")


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": "engine"},
        {"precision": "int8"},
        {"optimization_level": 6},
        {"optimization_level": -1},
        {"workspace_mb": -1},
        {"num_avg_timing_iters": 0},
        {"enabled_precisions": {"int8"}},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UsageError):
        Settings.from_options(wrong)


def test_a_misspelt_option_is_named_with_the_right_one():
    with pytest.raises(UsageError) as caught:
        Settings.from_options({"optimisation_level": 3})
    assert caught.value.fix == "did you mean 'optimization_level'?"
    assert Settings.from_options({"optimization_level": 3}).optimization_level == 3


def test_settings_are_plain_json():
    import json

    text = json.dumps(Settings(**EVERYTHING).to_json())
    assert json.loads(text)["timing_cache_path"] == "timing.cache"
