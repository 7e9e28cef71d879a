"""`rdo`: that it meets its targets in real bytes, and what it does on the updates it was made for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.compression.attempts import Attempts
from phloem.compression.codec import Codec, codec
from phloem.compression.rdo import Rdo
from phloem.compression.text import ByteCount, build
from phloem.compression.update import Schema, Update, digest, is_finite, nmse
from phloem.errors import CodecError, ConfigError, CorruptUpdate

Arrays = dict[str, NDArray[np.float32]]


def few_steps(seed: int = 0) -> Arrays:
    """What a few optimizer steps leave: outer products over sparse rows and columns."""
    rng = np.random.default_rng(seed)

    def product(m: int, n: int) -> NDArray[np.float32]:
        rows = rng.laplace(size=(m, 6)) * (rng.random((m, 1)) < 0.7)
        columns = rng.laplace(size=(6, n)) * (rng.random(n) < 0.6)
        noise = rng.standard_normal((m, n)) * 1e-3
        return ((rows * 0.5 ** np.arange(6) @ columns + noise) * 1e-3).astype(np.float32)

    return {
        "conv": product(16, 72).reshape(16, 8, 3, 3),
        "conv.bias": product(1, 16)[0],
        "fc": product(96, 400),
        "fc.bias": product(1, 96)[0],
        "head": product(10, 96),
    }


def gaussian(size: int = 1 << 18) -> Arrays:
    """The source on which every codec's distance from Shannon's bound is known."""
    return {"w": np.random.default_rng(1).standard_normal((size >> 9, 512), np.float32)}


def carried(update: Update, sender: Codec) -> tuple[int, float]:
    """Bytes of the frame, and the error after it."""
    blob, _ = sender.encode(update)
    return len(blob), nmse(update, sender.decode(blob, Schema.of(update)))


@pytest.mark.parametrize("target", ["bpp=0.1", "bytes=20kB", "nmse=0.01", "bpp=2"])
def test_text(target: str) -> None:
    """One target, one text."""
    assert str(build(Rdo, "rdo", target)) == f"rdo:{target}"


@pytest.mark.parametrize(
    "target", ["", "bpp=0", "bpp=-1", "bpp=nan", "bpp=inf", "nmse=1", "bpp=1,nmse=0.1", "bytes=0"]
)
def test_wrong_targets(target: str) -> None:
    """A target that nothing could meet fails when it is configured."""
    with pytest.raises(CodecError):
        build(Rdo, "rdo", target)


@pytest.mark.parametrize("size", [400, 1000, 3000, 10_000])
def test_bytes_are_met(size: int) -> None:
    """A budget of bytes is never exceeded, and used but for little."""
    found, _ = carried(few_steps(), Codec(Rdo(bytes=ByteCount(size))))
    assert 0.96 * size - 10 <= found <= size


def test_running_statistics_count() -> None:
    """A budget is that of the whole frame; where statistics alone exceed it, that is said."""
    update = few_steps() | {
        "norm.running_mean": np.ones(100, np.float32),
        "norm.running_var": gaussian(512)["w"][0],
    }
    for size in (2700, 3000, 6000):
        found, _ = carried(update, Codec(Rdo(bytes=ByteCount(size))))
        assert 0.96 * size - 10 <= found <= size
    with pytest.raises(ConfigError, match="statistics travel exactly"):
        Codec(Rdo(bytes=ByteCount(2400))).encode(update)


@pytest.mark.parametrize("bpp", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("update", [few_steps(), gaussian(1 << 15)], ids=["few steps", "gaussian"])
def test_bits_per_parameter_are_met(bpp: float, update: Arrays) -> None:
    """A rate is a budget like bytes, of the payloads."""
    schema = Schema.of(update)
    payloads, _ = Rdo(bpp=bpp).encode(update, schema, {}, 0)
    found, budget = sum(map(len, payloads)), bpp * schema.parameters / 8
    assert (0.97 if bpp > 0.1 else 0.7) * budget - 2 <= found <= budget


@pytest.mark.parametrize("target", [0.3, 0.03, 1e-3, 1e-6])
@pytest.mark.parametrize("update", [few_steps(), gaussian(1 << 15)], ids=["few steps", "gaussian"])
def test_an_error_is_met(target: float, update: Arrays) -> None:
    """A quality is never missed."""
    assert 0.7 * target <= carried(update, Codec(Rdo(nmse=target)))[1] <= target


@pytest.mark.parametrize("kind", ["dense", "sparse", "signs"])
def test_a_lax_error_is_met_too(kind: str) -> None:
    """Protects small steps of small models: modes jump there, and no step may fit the target at once."""
    rng = np.random.default_rng(7)
    shapes = {"a": (32, 117), "b": (32,), "c": (8, 32), "d": (8,)}
    for _ in range(12):
        raw = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
        if kind == "sparse":
            raw = {name: values * (rng.random(values.shape) < 0.05) for name, values in raw.items()}
        elif kind == "signs":
            raw = {name: np.sign(values) for name, values in raw.items()}
        scale = 10 ** rng.uniform(-4, 0)
        update = {name: (values * scale).astype("f4") for name, values in raw.items()}
        target = float(rng.uniform(0.5, 0.985))
        made = codec(f"rdo:nmse={target}")
        blob, _ = made.encode(update, seed=1)
        assert nmse(update, made.decode(blob, Schema.of(update))) <= target * 1.0001


def test_unreachable_targets() -> None:
    """Nobody is sent more than was allowed: the codec refuses, and says what would do."""
    with pytest.raises(ConfigError, match=r"should be \d+ or more"):
        Codec(Rdo(bytes=ByteCount(20))).encode(few_steps())
    with pytest.raises(ConfigError, match="Use `dense`"):
        Codec(Rdo(nmse=1e-15)).encode(gaussian(1 << 10))


@pytest.mark.parametrize(("bpp", "gap"), [(0.1, 0.04), (1, 0.2), (2, 0.16), (4, 0.14)])
def test_distance_from_the_bound(bpp: float, gap: float) -> None:
    """On independent Gaussian values the rate is within the scalar quantizer's loss of Shannon's."""
    update = gaussian()
    size, error = carried(update, Codec(Rdo(bpp=bpp)))
    assert 8 * size / update["w"].size - 0.5 * math.log2(1 / error) <= gap


@pytest.mark.parametrize(
    "peer",
    ["fp16", "linear:1", "linear:4", "linear:8", "topk:0.01", "topk:0.05 | linear:4", "lowrank:2 | fp16"],
)
@pytest.mark.parametrize("kind", ["few steps", "gaussian", "signs", "heavy"])
def test_never_worse_than_another_codec(peer: str, kind: str) -> None:
    """At the bytes of any other codec `rdo` has less error, whatever the update."""
    rng = np.random.default_rng(3)
    update = {
        "few steps": few_steps(),
        "gaussian": gaussian(1 << 14),
        "signs": {"w": np.sign(rng.standard_normal((64, 128))).astype(np.float32)},
        "heavy": {"w": (rng.standard_normal((64, 128)) ** 5).astype(np.float32)},
    }[kind]
    size, error = carried(update, codec(peer))
    ours, less = carried(update, Codec(Rdo(bytes=ByteCount(size))))
    assert ours <= size
    assert less <= max(error * 1.005, 1e-4)


@pytest.mark.parametrize("share", [0.05, 0.7])
def test_values_of_one_size_cost_their_places(share: float) -> None:
    """Where all that is not zero is of one size, it is sent once; and signs take a bit each, exactly."""
    rng = np.random.default_rng(2)
    signs = np.sign(rng.standard_normal((64, 128))).astype(np.float32) * np.float32(0.3)
    some = signs * (rng.random(signs.shape) < share)
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share) + share
    size, error = carried({"w": some}, Codec(Rdo(nmse=1e-4)))
    assert size <= 1.1 * entropy * 1024 + 64
    assert error <= 1e-4
    assert carried({"w": signs}, Codec(Rdo(bytes=ByteCount(1024 + 48))))[1] == 0


def test_low_rank_is_seen() -> None:
    """Updates of few steps cost several times less than by coding each value."""
    update = few_steps()
    mixed = {
        name: tensor[np.random.default_rng(5).permutation(len(tensor))] for name, tensor in update.items()
    }
    rng = np.random.default_rng(6)
    scattered = {name: rng.permuted(tensor.ravel()).reshape(tensor.shape) for name, tensor in update.items()}
    aim = Codec(Rdo(nmse=0.01))
    size = carried(update, aim)[0]
    assert carried(mixed, aim)[0] < 1.1 * size
    assert carried(scattered, aim)[0] > 4 * size


@pytest.mark.parametrize("update", [few_steps(), gaussian(1 << 14)], ids=["few steps", "gaussian"])
def test_the_transform_is_used_where_it_pays(update: Arrays) -> None:
    """With factors to choose from, an error takes no more bytes than by coding values alone."""
    schema = Schema.of(update)
    sizes = []
    for factors in (True, False):
        made = Attempts(update, schema, {}, 0, factors).search(None, 0.01)
        assert made is not None
        sizes.append(sum(map(len, made.payloads)))
    assert sizes[0] <= 1.01 * sizes[1]


def test_nothing_to_send() -> None:
    """Zeros take one byte, and so does an update whose budget allows nothing; no byte is no update."""
    schema = Schema.of(few_steps())
    silent = {name: np.zeros_like(tensor) for name, tensor in few_steps().items()}
    for update, body in ((silent, Rdo(nmse=0.1)), (few_steps(), Rdo(bpp=1e-6))):
        payloads, _ = body.encode(update, schema, {}, 0)
        assert sum(map(len, payloads)) == 1
        assert digest(body.decode(payloads, schema)) == digest(silent)
    with pytest.raises(CorruptUpdate):
        Rdo(bpp=1).decode([b""] * len(schema.tensors), schema)


def test_warm_start() -> None:
    """The state carries the step and the factors, and what arrives is as good with it as without."""
    sender = Codec(Rdo(bpp=0.2))
    _, state = sender.encode(few_steps(0))
    assert {"rdo/step", "rdo/right/fc"} <= set(state.warm)
    blob, _ = sender.encode(few_steps(0), state)
    cold, _ = sender.encode(few_steps(0))
    schema = Schema.of(few_steps())
    again, first = (nmse(few_steps(0), sender.decode(b, schema)) for b in (blob, cold))
    assert again == pytest.approx(first, rel=0.1)


def test_extreme_values() -> None:
    """Everything that float32 can hold is coded, or refused by name; nothing overflows on the way."""
    rng = np.random.default_rng(8)
    for scale in (1e-40, 1e-30, 1e18, 1e37):
        update = {"w": (rng.standard_normal((32, 64)) * scale).astype(np.float32)}
        sender = Codec(Rdo(bpp=2))
        blob, _ = sender.encode(update)
        back = sender.decode(blob, Schema.of(update))
        assert is_finite(back)
        assert scale < 1e-39 or nmse(update, back) < 0.2
    spike = {"w": np.zeros((16, 16), np.float32)}
    spike["w"][3, 5] = 3e38
    blob, _ = Codec(Rdo(nmse=0.001)).encode(spike)
    assert nmse(spike, Codec(Rdo(nmse=0.001)).decode(blob, Schema.of(spike))) <= 1e-3


def test_decoding_is_the_same_forever() -> None:
    """Bytes of a former version decode to the same bits: integers, then elementwise IEEE operations."""
    update = few_steps(4)
    blob, _ = Codec(Rdo(bytes=ByteCount(2000))).encode(update)
    decoded = [Codec(Rdo(bytes=ByteCount(2000))).decode(blob, Schema.of(update)) for _ in range(2)]
    assert digest(decoded[0]) == digest(decoded[1])


@pytest.mark.parametrize(
    ("vector", "bpp", "most"),
    [
        ("sgd1m", 0.05, 0.035),
        ("sgd1m", 0.135, 4e-3),
        ("sgd1m", 0.23, 1e-3),
        ("adamw1m", 0.045, 0.255),
        ("adamw1m", 0.25, 0.056),
        ("adamw1m", 2.1, 4.5e-3),
    ],
)
def test_real_updates(root: Path, vector: str, bpp: float, most: float) -> None:
    """On recorded updates of a million parameters: what exact SVDs and ideal coders reach."""
    folder = Path(os.environ.get("PHLOEM_DATA", root.parent / "shared" / "data"))
    path = folder / "updates" / f"{vector}.npz"
    if not path.is_file():
        pytest.skip(f"{vector}.npz is not in {folder}/updates; set PHLOEM_DATA to the folder that holds it")
    with np.load(path, allow_pickle=False) as arrays:
        update = {name: arrays[name] for name in arrays.files}
    size, error = carried(update, Codec(Rdo(bpp=bpp)))
    assert size <= bpp * Schema.of(update).parameters / 8 + 64 + 4 * len(update)
    assert error <= most


@pytest.mark.parametrize("size", [1, 64, 320, 5000])
def test_a_tensor_of_zeros_beside_others(size: int) -> None:
    """A bias that has not moved yet is zeros, in nearly every first update there is."""
    rng = np.random.default_rng(0)
    update = {"w": rng.standard_normal((320, 84), np.float32), "b": np.zeros(size, np.float32)}
    sender = codec("rdo:bpp=0.1")
    blob, _ = sender.encode(update)
    assert not sender.decode(blob, Schema.of(update))["b"].any()
