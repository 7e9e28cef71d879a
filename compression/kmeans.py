"""A codebook fitted to each tensor: every value becomes the number of its nearest entry.

S. Han, H. Mao and W. J. Dally, "Deep compression", ICLR 2016. In one dimension k-means needs no distances: on
sorted values a cluster is an interval, and its mean a difference of running sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phloem.compression import scale
from phloem.compression.kernels.levels import nearest
from phloem.compression.signal import Array, Spec, Symbols, Values, if_smaller
from phloem.compression.stage import Seed
from phloem.errors import CodecError, CorruptUpdate

ENTRIES = range(2, 257)

ITERATIONS = 100
"""Lloyd's iteration is stopped here; mostly it has found its end before."""

QUANTILES = 1 << 12
"""Values of which the start sees so many, evenly spread over the sorted ones."""


@dataclass(frozen=True, slots=True)
class KMeans:
    """`entries` levels a tensor, where they leave the least squared error that Lloyd's iteration finds.

    The codebook is float32 and travels: 4 bytes an entry. Tensors that would not get smaller pass.

    >>> from phloem.compression.codec import codec
    >>> str(codec("topk:0.1 | kmeans:16"))
    'topk:0.1 | kmeans:16'
    """

    name: ClassVar[str] = "kmeans"
    entries: int

    def __post_init__(self) -> None:
        if self.entries not in ENTRIES:
            raise CodecError(
                f"`entries` of `kmeans` should be in {ENTRIES[0]}..{ENTRIES[-1]}. Found {self.entries}. "
                "Use `linear:8`, `bf16` or `fp16` for more levels."
            )

    @property
    def bits(self) -> int:
        """The size of a symbol."""
        return (self.entries - 1).bit_length()

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become a codebook, and symbols in the values' own shape."""
        if not isinstance(spec, Values):
            return None
        return if_smaller((scale.scales(self.entries), Symbols(spec.shape, self.bits)), spec)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Fit the codebook, and look for the nearest entries."""
        values = array.ravel()
        book = scale.write(fit(values, self.entries))
        entries = scale.read(book)
        borders = np.full((1 << self.bits) - 1, np.inf, np.float32)
        borders[: self.entries - 1] = entries[1:] / 2 + entries[:-1] / 2
        symbols = np.zeros(values.size, np.uint8)
        nearest(values, 0, values.size, borders, self.bits, symbols)
        return [book, symbols.reshape(array.shape)], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Look up."""
        entries, symbols = scale.read(arrays[0]), arrays[1]
        if (entries[1:] < entries[:-1]).any():
            raise CorruptUpdate("A codebook should be sorted. Found one that is not.")
        if symbols.max() >= self.entries:
            raise CorruptUpdate(f"Symbols should be below {self.entries}. Found {symbols.max()}.")
        return np.asarray(entries[symbols])


def fit(values: NDArray[np.float32], entries: int) -> NDArray[np.float32]:
    """The codebook, sorted; some entries may be equal where there are few different values."""
    ordered = np.sort(values).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    book = _start(ordered, entries)
    ends = np.zeros(0, np.int64)
    for _ in range(ITERATIONS):
        before, ends = ends, np.searchsorted(ordered, book[1:] / 2 + book[:-1] / 2, side="right")
        if np.array_equal(before, ends):
            break
        places = np.concatenate([[0], ends, [ordered.size]])
        counts = np.diff(places)
        means = np.diff(sums[places]) / np.maximum(counts, 1)
        # Running sums round: a mean stays within its cluster, and an entry without values where it is.
        inside = np.clip(means, ordered[places[:-1].clip(max=ordered.size - 1)], ordered[places[1:] - 1])
        book = np.where(counts > 0, inside, book)
    return book.astype(np.float32)


def _start(ordered: NDArray[np.float64], entries: int) -> NDArray[np.float64]:
    """Entries as dense as the cube root of the values' density, which is best where entries are many.

    Between two neighbouring quantiles that root, times their distance, is the distance to the power 2/3.
    """
    few = ordered[np.linspace(0, ordered.size - 1, min(QUANTILES, ordered.size)).astype(np.int64)]
    gaps = np.diff(few)
    largest = gaps.max(initial=0.0)
    if not largest:
        return np.full(entries, ordered[0])
    mass = np.concatenate([[0.0], np.cumsum((gaps / largest) ** (2 / 3))])
    places = (np.arange(entries) + 0.5) / entries * mass[-1]
    return np.asarray(np.interp(places, mass, few))
