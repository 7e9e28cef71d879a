"""The network for ids, such as (user, item): `embedding`, whose update touches few rows of its tables.

X. He, T.-S. Chua, "Neural factorization machines for sparse predictive analytics", SIGIR 2017. A row whose id
is not in a round's samples has no gradient, so it stays as it is to the bit, with either optimizer and the
proximal term, unless `client.weight_decay` shrinks every row alike.
"""

from __future__ import annotations

import torch
from torch import nn

from phloem.client.models.dense import head
from phloem.config import ModelConfig
from phloem.errors import ConfigError

SPREAD = 0.3
"""Standard deviation of new vectors: smaller, and their products, of which all is made, hardly learn."""


def embedding(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a table of `width` a column of ids; products of the vectors go through the `hidden` layers.

    Raises:
        ConfigError: `rows` does not say how many ids each column has, or there is but one column.
    """
    if len(input_shape) != 1 or len(config.rows) != input_shape[0] or len(config.rows) < 2:
        raise ConfigError(
            "The model 'embedding' should have two columns of ids or more, and their counts in "
            f"`model.rows`. Found inputs {input_shape} and rows {list(config.rows)}. Set it to, say, "
            "'943,1682'."
        )
    return Embedding(config, classes)


class Embedding(nn.Module):
    """A vector and a bias for each id; the sum of the products of all pairs of vectors, and a head."""

    def __init__(self, config: ModelConfig, classes: int) -> None:
        super().__init__()
        self.vectors = nn.ModuleList(nn.Embedding(rows, config.width) for rows in config.rows)
        self.biases = nn.ModuleList(nn.Embedding(rows, classes) for rows in config.rows)
        self.head = head(config.width, config.hidden, classes)
        for table in self.vectors.children():
            nn.init.normal_(table.get_parameter("weight"), std=SPREAD)
        for table in self.biases.children():
            nn.init.zeros_(table.get_parameter("weight"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of ids `(n, columns)`."""
        ids = x.long().unbind(1)
        vectors = torch.stack([table(column) for table, column in zip(self.vectors, ids, strict=True)])
        pairs = (vectors.sum(0).square() - vectors.square().sum(0)) / 2
        logits: torch.Tensor = self.head(pairs)
        for table, column in zip(self.biases, ids, strict=True):
            logits = logits + table(column)
        return logits
