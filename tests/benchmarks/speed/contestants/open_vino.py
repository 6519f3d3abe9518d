"""OpenVINO: the plain export as most people run it, and NNCF's INT8, also with all that a good user adds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .base import Contestant, usual_input, usual_mask


class OpenVinoFp32(Contestant):
    """Float image in, full-size logits out, numpy before and behind."""

    title = "OpenVINO FP32"

    def load(self) -> None:
        import openvino

        self._core = openvino.Core()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
        }
        self._to_logits = self._request(self._model("logits"))
        self._to_mask = self._request(self._mask_model())

    def _model(self, output: str) -> Any:
        return self._core.read_model(str(self.material.plain(output)))

    def _mask_model(self) -> Any:
        return self._model("full")

    def _request(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()

    def ready(self, frame: np.ndarray) -> np.ndarray:
        return usual_input(frame)

    def network(self, ready: np.ndarray) -> object:
        return self._to_logits.infer([ready], share_inputs=True, share_outputs=True)

    def mask(self, frame: np.ndarray) -> np.ndarray:
        found = self._to_mask.infer([usual_input(frame)], share_inputs=True, share_outputs=True)
        return usual_mask(found[0])


class OpenVinoBf16(OpenVinoFp32):
    title = "OpenVINO BF16"
    precision = "bf16"


class NncfInt8(OpenVinoFp32):
    """NNCF's post-training quantization with its defaults, used as above."""

    title = "OpenVINO, NNCF INT8"
    precision = "int8"
    packages = ("nncf",)
    outputs: tuple[str, ...] = ("logits", "full")
    """Of the graphs that are quantized: to time the network, and to make masks."""

    def _path(self, output: str) -> Path:
        return self.material.folder / f"nncf.{output}.xml"

    def prepare(self) -> None:
        wanted = [output for output in self.outputs if not self._path(output).is_file()]
        if not wanted:
            return
        import nncf
        import openvino

        frames = self.material.calibration()
        for output in wanted:
            model = openvino.Core().read_model(str(self.material.plain(output)))
            data = nncf.Dataset([usual_input(frame) for frame in frames])
            made = nncf.quantize(model, data, subset_size=len(frames))
            partial = self.material.folder / f"nncf.{output}.partial.xml"
            openvino.save_model(made, str(partial), compress_to_fp16=False)
            shutil.move(partial.with_suffix(".bin"), self._path(output).with_suffix(".bin"))
            shutil.move(partial, self._path(output))

    def _model(self, output: str) -> Any:
        return self._core.read_model(str(self._path(output)))


class NncfInt8InGraph(NncfInt8):
    """The competent user: uint8 frame in through PrePostProcessor, the export's own ArgMax in the graph."""

    title = "OpenVINO, NNCF INT8, PrePostProcessor, argmax in the graph"
    outputs = ("logits", "mask")

    def _mask_model(self) -> Any:
        import openvino
        from openvino.preprocess import ColorFormat, PrePostProcessor

        steps = PrePostProcessor(self._with_argmax())
        frame = steps.input()
        frame.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        frame.tensor().set_color_format(ColorFormat.BGR)
        frame.model().set_layout(openvino.Layout("NCHW"))
        frame.preprocess().convert_element_type(openvino.Type.f32).mean(128.0).scale(64.0)
        return steps.build()

    def _with_argmax(self) -> Any:
        return self._model("mask")

    def mask(self, frame: np.ndarray) -> np.ndarray:
        found = self._to_mask.infer([frame[None]], share_inputs=True, share_outputs=True)
        return np.asarray(found[0][0])


class NncfInt8TopK(NncfInt8InGraph):
    """And one who knows the plugin: indices of 32 bits instead of ArgMax's 64 (OpenVINO 2026.4)."""

    title = "OpenVINO, NNCF INT8, PrePostProcessor, TopK of 32 bits in the graph"
    outputs = ("logits", "full")

    def _with_argmax(self) -> Any:
        import openvino
        from openvino import opset13

        model = self._model("full")
        logits = model.output(0).get_node().input_value(0)
        winner = opset13.topk(logits, opset13.constant(1), 1, "max", "none", index_element_type="i32").output(
            1
        )
        mask = opset13.squeeze(opset13.convert(winner, "u8"), opset13.constant([1]))
        return openvino.Model([opset13.result(mask)], model.get_parameters(), "with argmax")
