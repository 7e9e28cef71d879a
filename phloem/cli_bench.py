"""`phloem bench`: the benchmarks, against peers in the same run."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Benchmarks, against peers in the same run.")


@app.callback()
def _group() -> None:
    """Benchmarks, against peers in the same run."""
