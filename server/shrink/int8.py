"""int8 for devices: weights and activations in 8 bits, calibrated on unlabelled inputs.

Processors that multiply 8-bit numbers in pairs into 16-bit sums (AVX2 without VNNI) saturate with the
usual signed weights of a full 8 bits, and the answers change. Seven bits, or unsigned weights, do not.
Which is right is not looked up but tried: every variant runs on this machine, and the one that agrees most
with the float graph is kept, of equals the one whose logits are closest.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from phloem.errors import ConfigError
from phloem.server.shrink.graph import INPUT
from phloem.server.shrink.quality import agreement
from phloem.server.shrink.session import answers

CALIBRATED_AT_ONCE = 64
CALIBRATION_INPUTS = 512


@dataclass(frozen=True)
class Variant:
    """One way to quantise: the weights' type, a scale a channel or a tensor, seven bits or eight."""

    name: str
    weights: Any
    per_channel: bool
    seven_bits: bool = False


VARIANTS = (
    Variant("u8s8, per tensor", QuantType.QInt8, per_channel=False),
    Variant("u8s8, per tensor, 7 bits", QuantType.QInt8, per_channel=False, seven_bits=True),
    Variant("u8s8, per channel", QuantType.QInt8, per_channel=True),
    Variant("u8s8, per channel, 7 bits", QuantType.QInt8, per_channel=True, seven_bits=True),
    Variant("u8u8, per channel", QuantType.QUInt8, per_channel=True),
)


@dataclass(frozen=True)
class Tried:
    """A variant's graph and how it compares with the float one on some inputs.

    `agreement` is the share of them for which it chooses the same class, `nmse` the mean squared difference
    of the logits over the variance of the float graph's.
    """

    variant: Variant
    graph: onnx.ModelProto
    agreement: float
    nmse: float

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.graph.SerializeToString())


def quantise(
    graph: onnx.ModelProto, calibration: NDArray[np.float32], judged: NDArray[np.float32]
) -> tuple[Tried, list[Tried]]:
    """Return the variant to use and all that were tried, in order.

    `calibration` says how large activations get; `judged`, other inputs, where the classes are compared.

    Raises:
        ConfigError: there is nothing to calibrate on or to judge by.
    """
    if not len(calibration) or not len(judged):
        raise ConfigError(
            "int8 needs unlabelled inputs to calibrate on and validation samples to compare on. Found none: "
            "raise `data.proxy_fraction` and `data.validation_fraction`, or export with --float."
        )
    wanted = answers(graph, judged)
    tried = []
    for variant in VARIANTS:
        quantised = one_variant(graph, variant, calibration)
        found = answers(quantised, judged)
        nmse = float(np.square(found - wanted).mean() / max(float(wanted.var()), 1e-12))
        tried.append(Tried(variant, quantised, agreement(found, wanted), nmse))
    return max(tried, key=lambda one: (one.agreement, -one.nmse)), tried


def one_variant(
    graph: onnx.ModelProto, variant: Variant, calibration: NDArray[np.float32]
) -> onnx.ModelProto:
    """Return the graph with 8-bit weights and activations, in the form all ONNX runtimes read (QDQ)."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(
        logging.ERROR
    )  # the quantiser recommends a step that changes nothing for graphs as plain as ours
    try:
        with tempfile.TemporaryDirectory() as folder:
            # Files, as the quantiser loses the weights of a graph that it is handed in memory.
            before, after = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
            onnx.save(graph, before)
            quantize_static(
                before,
                after,
                _Batches(calibration[:CALIBRATION_INPUTS]),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=variant.weights,
                per_channel=variant.per_channel,
                reduce_range=variant.seven_bits,
                calibrate_method=CalibrationMethod.MinMax,
                # The runtime rounds biases itself; in the file their scales would cost more than it saves.
                extra_options={"QuantizeBias": False},
            )
            quantised = onnx.load(after)
    finally:
        root.setLevel(level)
    del quantised.graph.value_info[:]
    return quantised


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Hands the calibrator its inputs, as it asks for them."""

    def __init__(self, x: NDArray[np.float32]) -> None:
        self._parts = self._cut(x)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next batch by the input's name, or None at the end."""
        return next(self._parts, None)

    @staticmethod
    def _cut(x: NDArray[np.float32]) -> Iterator[dict[str, NDArray[np.float32]]]:
        for start in range(0, len(x), CALIBRATED_AT_ONCE):
            yield {INPUT: x[start : start + CALIBRATED_AT_ONCE]}
