"""The command line: `python -m tests.benchmarks.speed`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bisenet_edge.frame import Size
from bisenet_edge.runtime.machine import describe_machine

from .contest import hold
from .exactness import differing_pixels
from .floors import Work, floors_of, jetson_estimates
from .lane import LaneError
from .making import Wanted, make
from .material import Material
from .plan import (
    FOR_TARGETS,
    MODELS,
    QUICK_SIZE,
    SCALING_SIZES,
    SIZES,
    TARGET_SIZE,
    Choice,
    Plan,
    check_names,
    default_threads,
)
from .plots import plot_contest, plot_scaling
from .report import Findings, as_markdown, targets_table
from .scaling import measure_sizes, measure_streams
from .startup import measure_startup
from .targets import exactness_target, main_result, speed_targets, startup_targets
from .turns import BurstPlan, Patience

EXIT_ERROR, EXIT_INVALID = 1, 4
PEER_PACKAGES = ("torch", "openvino", "onnxruntime", "nncf", "ncnn", "pnnx", "numpy")
RESULTS = Path("build/speed")
ENGINE_BUILD = (
    "not measured on a Jetson. The doubles of the tests build nothing: they time our own part only, "
    "`python -m pytest tests/cli/test_compile_double.py --durations 5`."
)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0, or 4: too few undisturbed rounds, or 1: a contestant failed in its turn."""
    parser = _parser()
    plan, out, max_foreign = _plan(parser, parser.parse_args(argv))
    _tell(f"about {plan.seconds() / 60:.1f} minutes on two calm cores")
    for group in plan.groups:
        _tell(f"  {group}: {len(group.names)} contestants, {group.rounds} rounds")
    findings = Findings(_machine(), max_foreign)
    started_s = time.perf_counter()
    with ExitStack() as stack:
        work = plan.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speed-")))
        try:
            for model in plan.models:
                _one_model(model, plan, (work, out), findings)
        except LaneError as error:  # what was measured before it stays
            _tell(f"error: {error}")
            return EXIT_ERROR
        finally:
            _write(findings, out)
    print(targets_table(findings.targets))
    took_s = time.perf_counter() - started_s
    _tell(f"\n{took_s / 60:.1f} minutes; {out}/speed.json, {out}/speed.md and pictures beside them")
    if not findings.valid:
        _tell("invalid: too few rounds were undisturbed; close other programs and run again")
        return EXIT_INVALID
    return 0


def _one_model(model: str, plan: Plan, folders: tuple[Path, Path], findings: Findings) -> None:
    """Everything that is measured of one network; `folders` are what keeps material, and results."""
    work, out = folders
    groups = [group for group in plan.groups if group.model == model]
    wanted = dict.fromkeys([*(group.size for group in groups), *plan.scaling])
    asked = Wanted(model, tuple(wanted), plan.weights.get(model), plan.quantize_at)
    made = make(work, asked, _tell)
    materials = dict(zip(wanted, made))
    for group in groups:
        result = hold(group, materials[group.size], plan, _tell)
        findings.results.append(result)
        findings.floors.append(floors_of(result, Work.of(materials[group.size])))
        _write(findings, out)  # a later failure takes nothing away
    first = materials[groups[0].size]
    findings.work[f"{model} {first.size}"] = vars(Work.of(first))
    findings.jetsons[f"{model} {first.size}"] = jetson_estimates(first)
    if plan.scaling:
        scaled = [materials[size] for size in plan.scaling]
        patience = _rounds(plan, plan.side_rounds)
        findings.scaling.append(measure_sizes(scaled, plan.threads, plan.burst, patience, _tell))
    if plan.streams:
        patience = _rounds(plan, min(3, plan.side_rounds))
        findings.streams.append(measure_streams(first, plan.threads, patience, _tell))
    if plan.startup and not findings.startup:
        patience = _rounds(plan, plan.startup)
        findings.startup = measure_startup(first, plan.threads, patience, _tell)
        findings.startup["engine_build"] = ENGINE_BUILD
    _targets(model, first, findings)


def _rounds(plan: Plan, rounds: int) -> Patience:
    return replace(plan.patience, rounds=rounds, most_rounds=2 * rounds)


def _targets(model: str, first: Material, findings: Findings) -> None:
    if first.size != TARGET_SIZE:
        return  # a target belongs to a size
    result = main_result(findings.results, model)
    if result is not None:
        floors = findings.floors[findings.results.index(result)]
        findings.targets += speed_targets(result, floors)
        findings.targets.append(exactness_target(model, differing_pixels(first)[0]))
    if model == MODELS[0] and findings.startup:
        findings.targets += startup_targets(model, findings.startup)


def _write(findings: Findings, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(findings.to_json(), indent=1) + "\n"
    (out / "speed.json").write_text(text, encoding="utf-8")
    (out / "speed.md").write_text(as_markdown(findings), encoding="utf-8")
    for result in findings.results:
        if result.rows:
            group = result.group
            plot_contest(result, out / f"speed.{group.model}-{group.size}-{group.threads}.png")
    if findings.scaling or findings.streams:
        plot_scaling(findings.scaling, findings.streams, out / "scaling.png")


def _machine() -> dict[str, Any]:
    """This machine, with the versions of everybody who may take part."""
    found = {}
    for name in PEER_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return {**describe_machine(), "packages": found}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.speed",
        description="Our CPU backends beside their peers on the same weights, interleaved in one run.",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--targets", action="store_true", help="only who is needed to tell every target")
    how.add_argument(
        "--full", action="store_true", help="three sizes, 1 thread too at 640x360, scaling, cameras"
    )
    how.add_argument(
        "--quick", action="store_true", help=f"everything once at {QUICK_SIZE}: shows that it works"
    )
    parser.add_argument("--models", type=_words, default=MODELS, help=f"default: {','.join(MODELS)}")
    parser.add_argument("--sizes", type=_sizes, help="for example 640x360,1280x720")
    parser.add_argument("--threads", type=_counts, help="for example 1,2")
    parser.add_argument("--contestants", type=_words, default=(), help="names; default: all")
    parser.add_argument(
        "--rounds",
        type=int,
        help="undisturbed ones of each contest (default: 10; fewer with --targets and --full)",
    )
    parser.add_argument("--seconds", type=float, help="of a burst (default 0.3)")
    parser.add_argument("--max-foreign", type=float, default=0.06, help="share of the cores others may use")
    parser.add_argument("--checkpoint", action="append", type=_checkpoint, default=[], metavar="MODEL=FILE")
    parser.add_argument("--work", type=Path, help="keep what is made here, for the next run")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"folder (default: {RESULTS})")
    return parser


def _plan(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[Plan, Path, float]:
    try:
        check_names(options.contestants)
    except ValueError as error:
        parser.error(str(error))
    chosen = Choice(models=options.models, threads=default_threads()[-1:], names=options.contestants)
    burst, scaling, streams, startup = BurstPlan(), (), False, 5
    if options.full:
        threads = default_threads()
        chosen = replace(chosen, sizes=SIZES, threads=threads, crossed=False, heavy=False, rounds=4)
        scaling, streams, startup = SCALING_SIZES, True, 3
    elif options.targets:
        chosen = replace(chosen, names=options.contestants or FOR_TARGETS, rounds=8)
    elif options.quick:
        chosen = replace(chosen, sizes=(QUICK_SIZE,), heavy=False, rounds=1, burst_s=0.02)
        scaling, streams, startup = (QUICK_SIZE, Size(192, 128)), True, 1
        burst = BurstPlan(warm_s=0.0, least=1)
    named = {"sizes": options.sizes, "threads": options.threads}
    named.update(rounds=options.rounds, burst_s=options.seconds)
    chosen = replace(chosen, **{key: value for key, value in named.items() if value})
    if options.sizes and options.threads:
        chosen = replace(chosen, crossed=True)
    plan = Plan(
        groups=chosen.groups(),
        scaling=scaling,
        streams=streams,
        startup=startup,
        side_rounds=startup,
        burst=replace(burst, seconds=chosen.burst_s),
        patience=Patience(max_foreign=options.max_foreign),
        weights=dict(options.checkpoint),
        quantize_at=QUICK_SIZE if options.quick else TARGET_SIZE,
        work=options.work,
    )
    return plan, options.out, options.max_foreign


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _sizes(text: str) -> tuple[Size, ...]:
    return tuple(Size.parse(word) for word in _words(text))


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in _words(text))


def _checkpoint(text: str) -> tuple[str, Path]:
    model, equals, file = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL=FILE")
    return model, Path(file)


if __name__ == "__main__":
    sys.exit(main())
