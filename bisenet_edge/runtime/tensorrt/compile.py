"""An artifact's engines on this device: built, tested, timed, chosen.

An engine becomes active only after its masks of the golden frames have agreed with the bundled ones. Of
INT8 and FP16 the faster one runs by default, and the reason is kept beside them.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timezone
from statistics import mean
from typing import Any, Dict, List, Tuple

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError, unknown_name
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends.tensorrt import TensorRTSession
from bisenet_edge.runtime.cuda import CudaDevice, CudaRuntime
from bisenet_edge.runtime.profile.payoff import int8_pays
from bisenet_edge.runtime.selftest import selftest
from bisenet_edge.runtime.tensorrt import api as tensorrt
from bisenet_edge.runtime.tensorrt.api import FP16, FP32, INT8, PRECISIONS, TensorRt, has_int8
from bisenet_edge.runtime.tensorrt.builder import BuildOptions, Plan, build
from bisenet_edge.runtime.tensorrt.compiled import Compiled, EngineReport
from bisenet_edge.runtime.tensorrt.engine import Engine
from bisenet_edge.runtime.tensorrt.store import FACTS, EngineKey, EngineStore, write_whole

BEST = "best"
OURS = "tensorrt"
ANY = BuildOptions()


class Compiler:
    """Finds or builds the engines of one artifact on this device."""

    def __init__(self, artifact: Artifact, progress: Progress = quiet) -> None:
        """Look at the device.

        Raises:
            MissingDependencyError, BackendError: TensorRT or CUDA cannot be used here.
        """
        self.artifact = artifact
        self.store = EngineStore(artifact)
        self.api: TensorRt = tensorrt.load()
        with CudaRuntime.open() as cuda:
            self.device: CudaDevice = cuda.device
            self.cuda_versions = cuda.versions
        self.int8 = has_int8(self.device.compute_capability)
        self._progress = progress

    @property
    def capability(self) -> str:
        return "{}.{}".format(*self.device.compute_capability)

    def default_precision(self) -> Tuple[str, str]:
        """What runs when nobody says, and why: what was chosen here, else INT8 where the GPU has it."""
        choice = self.store.read_choice(self._gpu(), self.api.text)
        if choice:
            return str(choice["chosen"]), str(choice["reason"])
        if self.artifact.manifest.precision != INT8:
            return FP16, "the artifact has no INT8 model"
        if not self.int8:
            return FP16, f"{self._gpu()} has no INT8 arithmetic: FP16 instead"
        return INT8, "not compared with FP16 yet: bisenet-edge compile does"

    def ready(
        self, precision: str, options: BuildOptions = ANY, *, rebuild: bool = False, compiler: str = ""
    ) -> EngineReport:
        """The engine of a precision: from the cache if it serves, else built, tested and stored.

        Args:
            precision: "int8", "fp16" or "fp32".
            options: of the builder; an engine that was built with others does not serve.
            rebuild: build it even if there is one that serves.
            compiler: that must have made it; "" = any will do.

        Raises:
            UsageError: not a precision that TensorRT builds.
            BackendError: INT8 on a GPU without it, or the build failed; with node and remedy.
            ArtifactError: the artifact lacks the model or golden frames.
            SinkError: the cache cannot be written.
        """
        self._check(precision)
        key = self._key(precision, options, compiler)
        # Without the lock: a service may read engines in a folder that it cannot write.
        found, reasons = self.store.find(key)
        if found and not rebuild:
            return EngineReport(precision, found, (), _facts(found.record))
        with self.store.locked():
            found, reasons = self.store.find(key)  # somebody else may have built it meanwhile
            if found and not rebuild:
                return EngineReport(precision, found, (), _facts(found.record))
            if not reasons:
                reasons = ["a rebuild was asked for"] if found else ["there was none"]
            return self._build(key, options, reasons)

    def choose(self, options: BuildOptions = ANY, *, rebuild: bool = False) -> Compiled:
        """Build INT8 and FP16, test both, time both in turns, and remember the faster one.

        Raises:
            As `ready`.
        """
        if self.artifact.manifest.precision != INT8 or not self.int8:
            _, reason = self.default_precision()
            return self.only(FP16, options, rebuild=rebuild, reason=reason)
        engines = tuple(self.ready(p, options, rebuild=rebuild, compiler=OURS) for p in (INT8, FP16))
        stored = {engine.precision: engine.stored for engine in engines if engine.stored}
        if len(stored) < 2:
            failed = " and ".join(e.precision.upper() for e in engines if not e.stored)
            return self._decided(engines, next(iter(stored), ""), f"{failed} failed the self-test")
        payoff = int8_pays(self.artifact, backend="tensorrt", progress=self._progress)
        return replace(self._decided(engines, payoff.chosen, payoff.reason), payoff=payoff.to_json())

    def only(
        self, precision: str, options: BuildOptions = ANY, *, rebuild: bool = False, reason: str = ""
    ) -> Compiled:
        """Build and test one engine, which then runs by default.

        Raises:
            As `ready`.
        """
        engine = self.ready(precision, options, rebuild=rebuild, compiler=OURS)
        return self._run_by_default(engine, reason or "asked for")

    def adopt(self, precision: str, plan: Plan, compiler: str) -> Compiled:
        """Test an engine that another compiler made on this device; if it passes, it runs by default.

        Args:
            precision: "int8", "fp16" or "fp32".
            plan: a TensorRT engine with the artifact's contract.
            compiler: its name.

        Raises:
            UsageError, BackendError, SinkError: as `ready`.
        """
        self._check(precision)
        with self.store.locked():
            key = self._key(precision, ANY, compiler)
            engine = self._test_and_store(key, plan, [f"made by {compiler}"])
        return self._run_by_default(engine, f"made by {compiler}")

    def _check(self, precision: str) -> None:
        if precision not in PRECISIONS:
            raise unknown_name("precision for TensorRT", precision, PRECISIONS)
        if precision == INT8 and not self.int8:
            raise BackendError(
                "this GPU has no INT8 arithmetic: an INT8 engine would be slower than FP16",
                got=self._gpu(),
                expected="compute capability 6.1, or 7.0 and newer (Jetson Nano and TX2 have none)",
                fix="bisenet-edge compile --precision fp16",
            )

    def _run_by_default(self, engine: EngineReport, reason: str) -> Compiled:
        if engine.stored is None:
            return self._decided((engine,), "", f"{engine.precision.upper()} failed its self-test")
        if engine.precision == FP32:
            # For comparisons: it says nothing about what should run.
            chosen, why = self.default_precision()
            return self._compiled((engine,), chosen, why)
        return self._decided((engine,), engine.precision, reason)

    def _decided(self, engines: Tuple[EngineReport, ...], chosen: str, reason: str) -> Compiled:
        """Remember a decision. Without one, what was decided before stays in force, and is said."""
        if chosen:
            self.store.write_choice(chosen, reason, self._gpu(), self.api.text)
        elif self.store.read_choice(self._gpu(), self.api.text):
            chosen, before = self.default_precision()
            reason += f"; {chosen.upper()} from before stays the default ({before})"
        return self._compiled(engines, chosen, reason)

    def _compiled(self, engines: Tuple[EngineReport, ...], chosen: str, reason: str) -> Compiled:
        return Compiled(self._device(), engines, chosen, reason, str(self.store.folder))

    def _build(self, key: EngineKey, options: BuildOptions, reasons: List[str]) -> EngineReport:
        device, api = self.device, self.api
        timing = self.store.timing_cache(f"{device.name}-{self.capability}", api.text)
        model = self.artifact.model_path(api.model_of(key.precision)).read_bytes()
        earlier = timing.read_bytes() if timing.is_file() else b""
        plan = build(api, model, key.precision, options, earlier, self._progress)
        if plan.timing_cache:
            write_whole(timing, plan.timing_cache)
        return self._test_and_store(replace(key, compiler=OURS), plan, reasons)

    def _test_and_store(self, key: EngineKey, plan: Plan, reasons: List[str]) -> EngineReport:
        facts = self._test(key.precision, plan)
        stored = self.store.activate(key, plan.data, facts) if facts["selftest"]["passed"] else None
        facts = _facts({"key": asdict(key), **facts})
        return EngineReport(key.precision, stored, tuple(reasons), facts)

    def _test(self, precision: str, plan: Plan) -> Dict[str, Any]:
        """Load a plan, read it back and compare its masks with the bundled ones."""
        engine = Engine(self.api, plan.data, self.artifact.manifest.size)
        with TensorRTSession(self.artifact, precision, engine) as session:
            result = selftest(self.artifact, session)
            layers = engine.read_back()
        return {
            "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "build_s": round(plan.build_s, 2),
            "notes": plan.notes,
            "selftest": result.to_json(),
            "layers": layers.to_json(),
        }

    def _key(self, precision: str, options: BuildOptions, compiler: str) -> EngineKey:
        path = self.artifact.model_path(self.api.model_of(precision))
        return EngineKey(
            model_sha256=self.artifact.manifest.files[path.name],
            gpu=f"{self.device.name} ({self.device.multiprocessors} multiprocessors)",
            compute_capability=self.capability,
            tensorrt=self.api.text,
            precision=precision,
            typing="strong" if self.api.strong else "weak",
            size=str(self.artifact.manifest.size),
            opt_level=options.opt_level,
            workspace_mb=options.workspace_mb,
            compiler=compiler or None,
        )

    def _device(self) -> Dict[str, Any]:
        runtime, driver = (".".join(map(str, version)) for version in self.cuda_versions)
        return {
            "gpu": self.device.name,
            "compute_capability": self.capability,
            "tensorrt": self.api.text,
            "cuda_runtime": runtime,
            "cuda_driver": driver,
        }

    def _gpu(self) -> str:
        return f"{self.device.name}, compute capability {self.capability}"


def open_ready(artifact: Artifact, precision: str = "", progress: Progress = quiet) -> TensorRTSession:
    """An artifact on TensorRT, its engine built first where there is none that serves.

    Args:
        artifact: what to load.
        precision: "int8", "fp16" or "fp32"; "" = what `Compiler.default_precision` says.
        progress: told while an engine is built, which takes minutes.

    Raises:
        As `Compiler` and `Compiler.ready`; BackendError also when the engine's self-test failed.
    """
    compiler = Compiler(artifact, progress)
    report = compiler.ready(precision or compiler.default_precision()[0])
    if report.stored is None:
        test = report.facts["selftest"]
        raise BackendError(
            "the engine's masks differ from the bundled ones, so it is not used",
            got=f"{report.precision}: {100 * mean(test['agreements']):.2f} % of the pixels agree",
            expected=f"{100 * test['min_agreement']:g} %",
            fix="bisenet-edge compile --precision fp16, and report the device and its TensorRT",
        )
    engine = Engine(compiler.api, report.stored.data, artifact.manifest.size)
    return TensorRTSession(artifact, report.precision, engine)


def _facts(record: Dict[str, Any]) -> Dict[str, Any]:
    built_with = {name: record["key"].get(name) for name in ("compiler", "opt_level", "workspace_mb")}
    return {**{key: record[key] for key in FACTS}, "built_with": built_with}
