"""The least ClientApps there are, to measure what carrying a message costs: bytes in, as many bytes out."""

from __future__ import annotations

import os

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from phloem.records import get_blob, put_blob

app = ClientApp()
"""With NumPy alone."""

torch_app = ClientApp()
"""With torch, and a step of training with each message."""


@app.train()
def echo(message: Message, context: Context) -> Message:
    """Answer with as many new bytes as came."""
    content = RecordDict()
    put_blob(content, os.urandom(len(get_blob(message.content) or b"")))
    return Message(content, reply_to=message)


@torch_app.train()
def train(message: Message, context: Context) -> Message:
    """Train a small network for one step, then answer as `echo` does."""
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    loss = torch.nn.functional.cross_entropy(model(torch.rand(16, 64)), torch.arange(16) % 10)
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.1 * parameter.grad)  # torch.optim would bring its compiler along, 70 MB
    return echo(message, context)
