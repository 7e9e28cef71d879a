"""What each stage promises about the values it carries."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from phloem.compression.codec import CodecState, codec
from phloem.compression.fp16 import Fp16
from phloem.compression.kept import largest
from phloem.compression.linear import Linear
from phloem.compression.signal import Values
from phloem.compression.topk import TopK
from phloem.compression.update import Schema, nmse
from phloem.compression.zstd import Zstd
from phloem.errors import CodecError, ConfigError, CorruptUpdate
from tests.compression.cases import through

Floats = NDArray[np.float32]

tensors = arrays(
    np.float32,
    array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
    elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-1, 1, width=32),
)
matrices = arrays(np.float32, (7, 30), elements=st.floats(-4, 4, width=32))


def size(text: str, tensor: Floats) -> int:
    """What the tensor costs, in bytes."""
    return len(codec(text).encode({"w": tensor})[0])


@given(tensors)
@pytest.mark.parametrize("text", ["dense", "zstd", "dense | zstd:1", "zstd | zstd", "topk:1"])
def test_exact(text: str, tensor: Floats) -> None:
    """What promises to lose nothing loses nothing."""
    np.testing.assert_array_equal(through(text, tensor), tensor)


@given(
    arrays(
        np.float32,
        50,
        elements=st.floats(-65519, 65519, width=32) | st.floats(-(2.0**-13), 2.0**-13, width=32),
    )
)
def test_fp16_rounds_to_nearest(tensor: Floats) -> None:
    """Bit for bit NumPy's own conversion, subnormal halves and signed zeros included."""
    expected = tensor.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(through("fp16", tensor).view(np.uint32), expected.view(np.uint32))
    assert (np.abs(expected - tensor) <= 2.0**-11 * np.abs(tensor) + 2.0**-25).all()


def test_fp16_knows_every_half() -> None:
    """All 63 488 finite halves arrive as they are, and none of the others is let through."""
    halves = np.arange(1 << 16, dtype=np.uint16)
    finite = halves[halves & 0x7FFF < 0x7C00].view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(through("fp16", finite).view(np.uint32), finite.view(np.uint32))
    for other in halves[halves & 0x7FFF >= 0x7C00]:
        with pytest.raises(CorruptUpdate, match="A half should be finite"):
            Fp16().decode([np.array([0, other], np.uint16)], Values((2,)))
    with pytest.raises(ConfigError, match=r"'w'.*65520.*Found 65520"):
        through("fp16", np.array([1, -65520], np.float32))


@given(tensors, st.integers(2, 8), st.sampled_from(["tensor", "channel", "block"]))
def test_linear_is_off_by_half_a_step(tensor: Floats, bits: int, per: str) -> None:
    """Nearest rounding: half of a step, which is at most 1/128 more than the largest magnitude's share."""
    step = 129 / 128 * np.abs(tensor).max(initial=0) / (2 ** (bits - 1) - 1)
    error = np.abs(through(f"linear:{bits},per={per}", tensor).astype(np.float64) - tensor)
    assert error.max(initial=0) <= 0.501 * step + 2.0**-126


@given(tensors, st.integers(2, 8), st.integers(0, 99))
def test_stochastic_linear_is_off_by_less_than_a_step(tensor: Floats, bits: int, seed: int) -> None:
    """Stochastic rounding goes to one of the two levels beside a value."""
    step = 129 / 128 * np.abs(tensor).max(initial=0) / (2 ** (bits - 1) - 1)
    error = np.abs(through(f"linear:{bits},rounding=stochastic", tensor, seed).astype(np.float64) - tensor)
    assert error.max(initial=0) <= 1.001 * step + 2.0**-126


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_stochastic_linear_is_unbiased(bits: int) -> None:
    """Over many seeds the mean arrives, to within five times what chance explains: no shift, no shrinking."""
    tensor = np.random.default_rng(1).standard_normal((5, 60), np.float32)
    text = f"linear:{bits},per=tensor,rounding=stochastic"
    error = np.mean([through(text, tensor, seed) for seed in range(400)], axis=0, dtype=np.float64) - tensor
    step = 129 / 128 * np.abs(tensor).max() * (2 if bits == 1 else 1 / (2 ** (bits - 1) - 1))
    deviation = step / 2 / np.sqrt(400)
    assert np.abs(error).max() <= 5 * deviation
    assert abs(error.mean()) <= 5 * deviation / np.sqrt(tensor.size)
    assert abs((error * tensor).sum()) <= 5 * deviation * np.linalg.norm(tensor)


@given(tensors)
def test_one_bit_is_the_sign_and_the_mean_magnitude(tensor: Floats) -> None:
    """The sign with a scale: what arrives has one magnitude a group, and it is the best one."""
    decoded = through("linear:1,per=tensor", tensor).astype(np.float64)
    mean = np.abs(tensor, dtype=np.float64).mean() if tensor.size else 0.0
    assert (np.abs(np.abs(decoded) - mean) <= mean / 128 + 2.0**-126).all()
    assert (decoded * tensor >= 0).all()


def test_scales_are_normal_numbers() -> None:
    """Zero, or positive, finite and not subnormal: any other scale is refused before it scales anything."""
    symbols = np.array([0, 7, 14], np.uint8)
    for code in range(1 << 16):
        scales = np.array([code], np.uint16)
        if code == 0 or 0x0080 <= code <= 0x7F7F:
            with np.errstate(over="ignore"):
                assert Linear(4).decode([scales, symbols], Values((3,)))[1] == 0
            continue
        with pytest.raises(CorruptUpdate, match=f"Found {code:#06x}"):
            Linear(4).decode([scales, symbols], Values((3,)))


def test_groups_have_their_own_scale() -> None:
    """A value a thousand times as large as the others spoils its own group, and no other."""
    tensor = np.random.default_rng(2).standard_normal((4, 200), np.float32)
    tensor[0, 0] = 1e4
    quiet = {
        per: nmse({"w": tensor[1:]}, {"w": through(f"linear:4,per={per}", tensor)[1:]})
        for per in ("tensor", "channel", "block")
    }
    assert quiet["tensor"] == 1
    assert quiet["channel"] < 0.02
    assert quiet["block"] < 0.02


def test_scales_of_odd_shapes() -> None:
    """The last block may be short, and what fills it up does not count."""
    tensor = np.full(130, 3, np.float32)
    np.testing.assert_allclose(through("linear:1", tensor), tensor, rtol=1 / 128)
    np.testing.assert_allclose(through("linear:8", tensor), tensor, rtol=1 / 64)


@given(tensors, st.sampled_from([0.001, 0.1, 0.25, 0.5, 0.999, 1.0]))
def test_topk_keeps_the_largest(tensor: Floats, fraction: float) -> None:
    """What is kept is exact and as many as stated; nothing that is left out is larger than anything kept."""
    decoded = through(f"topk:{fraction}", tensor)
    kept = decoded != 0
    np.testing.assert_array_equal(decoded[kept], tensor[kept])
    count = TopK(fraction).count(tensor.size)
    assert count == int(np.ceil(fraction * tensor.size))
    assert kept.sum() == min(count, np.count_nonzero(tensor))
    assert np.abs(tensor[~kept]).max(initial=0) <= np.abs(tensor[kept]).min(initial=np.float32(np.inf))


@given(
    arrays(np.float32, st.integers(0, 60), elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0])), st.data()
)
def test_topk_breaks_ties_by_position(values: Floats, data: st.DataObject) -> None:
    """Among equal magnitudes the first stay, so every machine selects the same."""
    count = data.draw(st.integers(min(1, values.size), values.size))
    expected = np.sort(np.argsort(-np.abs(values), kind="stable")[:count])
    np.testing.assert_array_equal(largest(values, count), expected)


def test_topk_counts_like_people_do() -> None:
    """0.07 of 100 are 7; in floats it is a little more, which would round up to 8. And one is the least."""
    assert [TopK(0.07).count(100), TopK(0.01).count(10), TopK(1e-9).count(1), TopK(0.5).count(0)] == [
        7,
        1,
        1,
        0,
    ]


@given(arrays(np.float32, (3, 9), elements=st.floats(-4, 4, width=32)), matrices)
def test_lowrank_is_a_projection(left: Floats, right: Floats) -> None:
    """The error is never longer than the matrix, and a matrix of that rank arrives whole."""
    matrix = left.T @ right[:3]
    assert nmse({"w": right}, {"w": through("lowrank:2", right)}) <= 1 + 1e-6
    np.testing.assert_allclose(through("lowrank:3", matrix), matrix, atol=1e-3 * max(1, np.abs(matrix).max()))


def test_lowrank_gets_better_with_its_own_memory() -> None:
    """Warm-started, repeated power iterations on one matrix approach the best approximation of its rank."""
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((40, 60), np.float32) * np.float32(0.97) ** np.arange(60, dtype=np.float32)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    best = float((values[4:] ** 2).sum() / (values**2).sum())
    sender, state, errors = codec("lowrank:4"), CodecState(), []
    for _ in range(40):
        blob, state = sender.encode({"w": matrix}, state)
        errors.append(nmse({"w": matrix}, sender.decode(blob, Schema.of({"w": matrix}))))
    assert errors[0] > 1.05 * best
    assert best * 0.999 <= errors[-1] <= 1.01 * best


def test_lowrank_forgets_what_does_not_fit() -> None:
    """A memory of another shape is left, and rows of zeros in it are drawn again."""
    rng = np.random.default_rng(4)
    sender = codec("lowrank:2")
    zero, full = np.zeros((10, 20), np.float32), rng.standard_normal((10, 20), np.float32)
    _, after_zero = sender.encode({"w": zero})
    assert sender.encode({"w": full}, after_zero)[0] == sender.encode({"w": full})[0]
    _, after_other = sender.encode({"w": rng.standard_normal((10, 30), np.float32)})
    assert sender.encode({"w": full}, after_other)[0] == sender.encode({"w": full})[0]


def test_lowrank_lets_small_tensors_pass() -> None:
    """Where the factors would not be smaller there are none, and nothing is lost."""
    rng = np.random.default_rng(5)
    for shape in ((8,), (4, 4), (2, 3, 4), ()):
        tensor = rng.standard_normal(shape, np.float32) if shape else np.array(2.5, np.float32)
        np.testing.assert_array_equal(through("lowrank:4", tensor), tensor)


@given(st.binary(max_size=300), st.integers(1, 19))
def test_zstd_costs_one_byte_at_most(data: bytes, level: int) -> None:
    """What cannot be squeezed is left as it is."""
    stage = Zstd(level)
    squeezed = stage.encode(data)
    assert len(squeezed) <= stage.most_bytes(len(data)) == len(data) + 1
    assert stage.decode(squeezed, len(data)) == data


def test_zstd_takes_back_only_its_own() -> None:
    """Another first byte, a byte too many, or a window that would need more memory than the tensor."""
    stage, zeros = Zstd(), bytes(3000)
    squeezed = stage.encode(zeros)
    assert stage.decode(squeezed, 3000) == zeros
    for wrong, limit in (
        (squeezed, 2999),
        (b"\2" + squeezed[1:], 3000),
        (squeezed + b"\0", 3000),
        (b"", 3000),
    ):
        with pytest.raises(CorruptUpdate):
            stage.decode(wrong, limit)
    wide = zstandard.ZstdCompressionParameters(window_log=20, write_content_size=False)
    squeezer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    frame = squeezer.compress(zeros) + squeezer.flush()
    with pytest.raises(CorruptUpdate, match=r"window should be at most 4096\. Found 1048576"):
        stage.decode(b"\1" + frame[4:], 3000)


@pytest.mark.parametrize(
    "ladder",
    [
        # From two bits on: one bit has levels at the mean magnitude, which on bell-shaped values beats two.
        [f"linear:{bits}" for bits in range(2, 9)] + ["fp16", "dense"],
        [f"linear:4,per={per}" for per in ("tensor", "channel", "block")],
        [f"topk:{fraction}" for fraction in (0.001, 0.01, 0.1, 0.3, 1)],
        [f"lowrank:{rank}" for rank in (1, 2, 4, 8, 16)],
        [f"topk:{fraction} | linear:4 | zstd" for fraction in (0.001, 0.01, 0.1, 0.3, 1)],
    ],
)
def test_more_bytes_less_error(ladder: list[str]) -> None:
    """A larger parameter costs more and loses less, so a search over it can be trusted."""
    tensor = np.random.default_rng(6).standard_normal((20, 200), np.float32)
    sizes = [size(text, tensor) for text in ladder]
    errors = [nmse({"w": tensor}, {"w": through(text, tensor)}) for text in ladder]
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("linear:32", r"`bits` of `linear` should be in 1..8. Found 32. Use `fp16`"),
        ("linear:0", "Found 0"),
        ("linear:4,per=row", "one of tensor, channel, block. Found 'row'"),
        ("linear:4,rounding=up", "one of nearest, stochastic. Found 'up'"),
        ("topk:0", "Found 0.0"),
        ("topk:1.5", "Found 1.5"),
        ("topk:nan", "Found nan"),
        ("lowrank:0", "1 or more. Found 0"),
        ("zstd:20", "in 1..19. Found 20"),
        ("ef:decay=0 | dense", "Found 0.0"),
    ],
)
def test_parameters_out_of_range(text: str, complaint: str) -> None:
    """A parameter that makes no sense is refused when the codec is made, with what would make sense."""
    with pytest.raises(CodecError, match=complaint):
        codec(text)
