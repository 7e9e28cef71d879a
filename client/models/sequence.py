"""Networks that read in order: `gru` for windows of a time series, `transformer` for windows of text.

K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014; A. Vaswani et al.,
"Attention is all you need", 2017, with the norms first (R. Xiong et al., 2020), which needs no warm-up.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from phloem.client.models.dense import head
from phloem.config import ModelConfig
from phloem.errors import ConfigError


def gru(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return `layers` gated recurrent layers of `width`; the last state goes through the `hidden` layers.

    Raises:
        ConfigError: the inputs are no windows `(time, features)` or `(1, time, features)`.
    """
    if len(input_shape) not in (2, 3) or input_shape[:-2] not in ((), (1,)):
        raise ConfigError(
            "The model 'gru' should have windows (time, features) or (1, time, features) as inputs. "
            f"Found {input_shape}. Use the model 'mlp'."
        )
    return Gru(config, input_shape[-1], classes)


def transformer(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return `layers` blocks of self-attention over windows of symbols; the last place tells the next symbol.

    Symbols and classes are the same codes, 0 to `classes - 1`.

    Raises:
        ConfigError: the inputs are no windows `(symbols,)`, or `heads` do not divide `width`.
    """
    if len(input_shape) != 1:
        raise ConfigError(
            f"The model 'transformer' should have windows of symbols (n,) as inputs. Found {input_shape}. "
            "Use the model 'gru' or 'cnn'."
        )
    if config.width % config.heads:
        raise ConfigError(
            f"`model.width` should be a multiple of `model.heads`. Found {config.width} and {config.heads}. "
            "Change one of them."
        )
    return Transformer(config, input_shape[0], classes)


class Gru(nn.Module):
    """Gated recurrent layers and a head."""

    def __init__(self, config: ModelConfig, features: int, classes: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(features, config.width, config.layers, batch_first=True)
        self.head = head(config.width, config.hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of windows `(n, time, features)` or `(n, 1, time, features)`."""
        states, _ = self.recurrent(x.flatten(1, 2) if x.dim() == 4 else x)
        logits: torch.Tensor = self.head(states[:, -1])
        return logits


class Block(nn.Module):
    """Self-attention and a dense part four times as wide, each added to what comes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.before_dense = nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return vectors `(n, symbols, width)` for such."""
        n, symbols, width = x.shape
        parts = self.attention(self.before_attention(x)).view(n, symbols, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.mix(attended.transpose(1, 2).reshape(n, symbols, width))
        out: torch.Tensor = x + self.dense(self.before_dense(x))
        return out


class Transformer(nn.Module):
    """Learned vectors for symbols and places, blocks, and the last place's logits."""

    def __init__(self, config: ModelConfig, symbols: int, classes: int) -> None:
        super().__init__()
        self.symbol = nn.Embedding(classes, config.width)
        self.place = nn.Parameter(torch.zeros(symbols, config.width))
        self.blocks = nn.Sequential(*(Block(config.width, config.heads) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, classes)
        nn.init.normal_(self.symbol.weight, std=config.width**-0.5)
        nn.init.normal_(self.place, std=config.width**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of the next symbol for codes `(n, symbols)`."""
        vectors = self.blocks(self.symbol(x.long()) + self.place)
        logits: torch.Tensor = self.output(self.norm(vectors[:, -1]))
        return logits
