"""What federations with different codecs reach and send: the same clients, samples and seeds, other bytes.

A preset is one system's way to send updates up and models down. Peers have their own codecs with the
settings of their papers and defaults, and a ladder of others around these, so that one can ask what a peer
needs for a given accuracy. Where a peer compresses the way down, it is given phloem's: a step from the model
that a client holds, which errs less than the whole model would in the same codec. Where it does not, the
model goes down as it is, and only the way up can be compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from phloem.bench.bodies import peers_as_codecs
from phloem.config import Experiment
from phloem.errors import DataError
from phloem.references import load_reference
from phloem.summary import summarise

SIMULATE = "phloem.simulation.run:simulate"
DENSE = "dense"


@dataclass(frozen=True, slots=True)
class Preset:
    """Codecs up and down; `error` is `downlink.error`. What is not `own` is a peer's."""

    name: str
    up: str
    down: str = DENSE
    error: float = 0.0
    own: bool = False

    @property
    def settings(self) -> dict[str, object]:
        """What to set in an experiment."""
        return {
            "uplink.codec": self.up,
            "downlink.codec": self.down,
            "downlink.error": self.error,
            "downlink.anchor": DENSE if self.down == DENSE else "fp16 | zstd",
        }


def _both(name: str, codec: str, feedback: str = "") -> Preset:
    return Preset(name, f"{feedback}{codec}", codec)


EF = "ef | "

PRESETS: tuple[Preset, ...] = (
    Preset(DENSE, DENSE, own=True),
    Preset("rdo", "ef | rdo:bpp=0.5", "rdo:bpp=0.3", 0.015, own=True),
    Preset("rdo, thrifty", "ef | rdo:bpp=0.3", "rdo:bpp=0.3", 0.05, own=True),
    Preset("dither up", "dither:0.002", own=True),
    Preset("dither", "dither:0.01", "rdo:bpp=0.3", 0.05, own=True),
    Preset("dither, thrifty", "dither:0.01", "rdo:bpp=0.3", 0.08, own=True),
    *(_both(f"STC {100 * p:g} %", f"ternary:{p}", EF) for p in (0.0025, 0.01, 0.05, 0.2)),
    *(_both(f"OpenFL STC {100 * p:g} %", f"openfl-stc:{p}") for p in (0.1,)),
    _both("OpenFL KC", "openfl-kc:6"),
    *(_both(f"EDEN {bits} bit", f"eden:{bits},scale=unbiased") for bits in (1, 2, 4)),
    _both("NVFlare 4 bit", "nvflare-normfloat4"),
    _both("NVFlare 8 bit", "nvflare-blockwise8"),
    _both("NVFlare 16 bit", "fp16"),
    *(_both(f"PowerSGD {rank}, fp16", f"lowrank:{rank} | fp16", EF) for rank in (2, 4, 8)),
    _both("EF-signSGD", "sign", EF),
    *(Preset(f"EF-EDEN {bits} bit", f"ef | eden:{bits}") for bits in (1,)),
    *(Preset(f"FedPAQ {bits} bit", f"linear:{bits},rounding=stochastic") for bits in (2, 4, 8)),
    *(Preset(f"QSGD {levels}", f"qsgd:{levels} | zstd") for levels in (1, 7, 127)),
    *(Preset(f"EF top {100 * p:g} %", f"ef | topk:{p}") for p in (0.01, 0.1)),
    *(Preset(f"DGC {100 * p:g} %", f"dgc | topk:{p},warmup=4") for p in (0.001, 0.01)),
    *(Preset(f"DGC {100 * p:g} %, m 0.5", f"dgc:momentum=0.5 | topk:{p},warmup=4") for p in (0.01, 0.1)),
)
"""By name; the first is what ratios are against."""

DIGITS: Mapping[str, object] = {"run.rounds": 40}
SHORT: Mapping[str, object] = {"run.rounds": 20}
"""On digits, for a test: seconds a preset."""

IMAGES: Mapping[str, object] = {
    "data.clients": 100,
    "data.proxy_fraction": 0.0,
    "data.validation_fraction": 0.05,
    "model.name": "cnn",
    "model.channels": "8,16",
    "model.hidden": "64",
    "client.samples_per_round": 320,
    "client.epochs": 1,
    "client.batch_size": 32,
    "client.learning_rate": 0.1,
    "server.clients_per_round": 10,
    "server.evaluate_every": 5,
    "run.rounds": 60,
}


@dataclass(frozen=True, slots=True)
class Trained:
    """One run: the mean of the last five evaluations on the test set, and the payload bytes of each way."""

    preset: str
    seed: int
    accuracy: float
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A preset's runs by seed; bytes and accuracy are means."""

    preset: Preset
    runs: Mapping[int, Trained]

    @property
    def accuracy(self) -> float:
        """In 0..1."""
        return mean(run.accuracy for run in self.runs.values())

    @property
    def up(self) -> float:
        """Bytes."""
        return mean(run.up for run in self.runs.values())

    @property
    def down(self) -> float:
        """Bytes."""
        return mean(run.down for run in self.runs.values())

    @property
    def both(self) -> float:
        """Bytes of both ways."""
        return self.up + self.down

    def ahead(self, other: Standing) -> float | None:
        """By how much it is more accurate, over the seeds that both have; None where they have none."""
        common = self.runs.keys() & other.runs.keys()
        if not common:
            return None
        return mean(self.runs[seed].accuracy - other.runs[seed].accuracy for seed in sorted(common))


def train(preset: Preset, settings: Mapping[str, object], seed: int) -> Trained:
    """Run a federation to its end, every update really encoded, sent and decoded.

    Raises:
        ConfigError: a setting that cannot work.
        DataError: there is no test set.
    """
    with peers_as_codecs(), tempfile.TemporaryDirectory() as folder:
        values = {**settings, **preset.settings, "run.seed": seed, "run.reference": False}
        experiment = Experiment().with_values(values)
        summary = summarise(load_reference(SIMULATE)(experiment, Path(folder) / "run"))
    if summary.accuracy_mean5 is None:
        raise DataError("The data should have a test set. Found none. Keep a part of it for testing.")
    up, down = summary.uplink.payload_bytes, summary.downlink.payload_bytes
    return Trained(preset.name, seed, summary.accuracy_mean5, up, down)


def standings(runs: Iterable[Trained]) -> list[Standing]:
    """Gather runs by preset, in the order of `PRESETS`."""
    found = list(runs)
    gathered = []
    for preset in PRESETS:
        mine = {run.seed: run for run in found if run.preset == preset.name}
        if mine:
            gathered.append(Standing(preset, mine))
    return gathered


def cheapest_peer(among: Iterable[Standing], own: Standing, *, both: bool) -> Standing | None:
    """Return the peer with the fewest bytes, up or of both ways, that is no less accurate than `own`.

    Accuracies differ more from seed to seed than from codec to codec, so they are compared seed by seed.
    """
    able = [peer for peer in among if not peer.preset.own and _is_able(peer, own)]
    return min(able, key=lambda peer: peer.both if both else peer.up, default=None)


def _is_able(peer: Standing, own: Standing) -> bool:
    ahead = peer.ahead(own)
    return ahead is not None and ahead >= 0
