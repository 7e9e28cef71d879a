"""The benchmark's results as a page of Markdown with one plot a vector, and as tables on a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from phloem.bench.codecs import Result, Row
from phloem.bench.contenders import OWN
from phloem.bench.duel import Duel
from phloem.bench.plot import scatter

COLUMNS = ("codec", "bits/parameter", "NMSE", "encode MB/s", "decode MB/s")

INTRODUCTION = """\
# Codecs, measured

Written by `{command}`.

Every row is the whole message as bytes, really decoded. *Bits/parameter* counts all of them; *NMSE* is
`|x - decoded|² / |x|²`; speeds are float32 MB a processor second, the median of {repeats} rounds in which
everybody had a turn (one round for those who need more than a second). Copying the same arrays ran at
{memcpy:.0f} MB/s. Sizes and errors are the same on every machine, speeds are not.

Peers are stages of phloem where their method is one, and otherwise made again from their papers and
documentation, of which only the arrays count. All without error feedback, on one update. Codecs with
`lowrank` make two passes, because on a device they start from the update before. *Order-0 entropy* is
what uniform quantization would take if its entropy coder were perfect and its tables free; *Gaussian R(D)* is
a bound for normal values only.
"""

FEDERATION = "fed"
FEDERATION_NOTE = """
The vectors `fed` and a number are what a client's codec was given in that round of a running federation, with
the residual of earlier rounds: Fashion-MNIST, 100 clients, Dirichlet 0.3, a CNN of 52k parameters.
`benchmarks/federation_updates.py` makes them.
"""

EQUAL_BYTES = """\

## `rdo` at equal bytes

For each of the {count} messages of other codecs that are not lossless, `rdo` was asked for a frame of as many
bytes (`rdo:bytes=…`, frame and all), and the errors were compared.
{verdict} The closest on each vector:

| vector | messages | `rdo` errs more | closest codec | bytes | its NMSE | that of `rdo` | ratio |
|---|--:|--:|---|--:|--:|--:|--:|
"""


def tables(result: Result) -> Iterator[Table]:
    """Return a table a vector, and one of what is missing."""
    for vector, rows in _by_vector(result).items():
        table = Table(title=f"{vector}, memcpy {rows[0].memcpy_mbps:.0f} MB/s", title_justify="left")
        table.add_column("codec", overflow="fold")
        for column in ("bpp", "NMSE", "encode\nMB/s", "decode\nMB/s"):  # 80 characters have room for no more
            table.add_column(column, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(escape(row.codec), *_numbers(row))
        table.add_section()
        for point in result.references:
            if point.vector == vector:
                table.add_row(point.line, f"{point.bpp:.4g}", _error(point.nmse), "", "")
        yield table
    if result.duels:
        table = Table("vector", "messages", "rdo errs more", "closest", title_justify="left")
        for vector, duels in _duels(result).items():
            lost, closest = sum(duel.lost for duel in duels), min(duels, key=lambda duel: duel.margin)
            nearest = escape(f"{closest.rival}, {closest.margin:.3g} times the error")
            table.add_row(vector, str(len(duels)), str(lost), nearest)
        yield table
    if result.missing:
        table = Table("missing", "because", title_justify="left")
        for names, reason in _absent(result).items():
            table.add_row(escape(names), escape(reason))
        yield table


def write(result: Result, path: Path, command: str) -> list[Path]:
    """Write the page, and beside it the plots."""
    text = INTRODUCTION.format(command=command, repeats=result.repeats, memcpy=result.memcpy_mbps)
    if any(name.startswith(FEDERATION) for name in _by_vector(result)):
        text += FEDERATION_NOTE
    written = [path]
    for vector, rows in _by_vector(result).items():
        plot = path.with_name(f"{path.stem}-{vector}.svg")
        plot.write_text(_plot(vector, rows, result), encoding="utf-8")
        written.append(plot)
        text += f"\n## {vector}\n\n![Error against bits per parameter on {vector}]({plot.name})\n\n"
        text += f"| {' | '.join(COLUMNS)} | of |\n|---|" + "--:|" * (len(COLUMNS) - 1) + "---|\n"
        for row in rows:
            code, family = row.codec.replace("|", "\\|"), row.family.replace("|", "\\|")
            text += f"| `{code}` | {' | '.join(_numbers(row))} | {family} |\n"
    if result.duels:
        text += _equal_bytes(result)
    if result.missing:
        text += "\n## Missing\n\n"
        text += "".join(f"- {names}: {reason}\n" for names, reason in _absent(result).items())
    path.write_text(text, encoding="utf-8")
    return written


def _by_vector(result: Result) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in result.rows:
        groups[row.vector].append(row)
    return groups


def _duels(result: Result) -> dict[str, list[Duel]]:
    groups: dict[str, list[Duel]] = defaultdict(list)
    for duel in result.duels:
        groups[duel.vector].append(duel)
    return groups


def _equal_bytes(result: Result) -> str:
    """The closest rival on each vector, and every one that errs less than `rdo`."""
    lost = [duel for duel in result.duels if duel.lost]
    verdict = f"It errs more for {len(lost)} of them, listed below." if lost else "It never errs more."
    text = EQUAL_BYTES.format(count=len(result.duels), verdict=verdict)
    for vector, duels in _duels(result).items():
        closest = min(duels, key=lambda duel: duel.margin)
        text += f"| {vector} | {len(duels)} | {sum(duel.lost for duel in duels)} | {_fought(closest)} |\n"
    if lost:
        text += "\n| vector | where `rdo` errs more | bytes | its NMSE | that of `rdo` | ratio |\n"
        text += "|---|---|--:|--:|--:|--:|\n"
        text += "".join(f"| {duel.vector} | {_fought(duel)} |\n" for duel in lost)
    return text


def _fought(duel: Duel) -> str:
    code = duel.rival.replace("|", "\\|")
    return f"`{code}` | {duel.bytes} | {_error(duel.nmse)} | {_error(duel.rdo_nmse)} | {duel.margin:.4g}"


def _absent(result: Result) -> dict[str, str]:
    """What could not be run, and why; those of one family for one reason together."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for missing in result.missing:
        groups[missing.family, missing.reason].append(missing.name)
    return {f"{family}: {', '.join(names)}": reason for (family, reason), names in groups.items()}


def _plot(vector: str, rows: list[Row], result: Result) -> str:
    own: dict[str, list[tuple[float, float]]] = defaultdict(list)
    peers: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.nmse > 0:
            (own if row.family.startswith(OWN) else peers)[row.family].append((row.bpp, row.nmse))
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for point in result.references:
        if point.vector == vector:
            lines[point.line].append((point.bpp, point.nmse))
    return scatter(f"{vector}: the error that bits buy", own, peers, lines)


def _numbers(row: Row) -> tuple[str, str, str, str]:
    return f"{row.bpp:.4g}", _error(row.nmse), _speed(row.encode_mbps), _speed(row.decode_mbps)


def _error(nmse: float) -> str:
    return f"{nmse:.3g}" if nmse == 0 or nmse >= 0.001 else f"{nmse:.2e}"


def _speed(mbps: float) -> str:
    return f"{mbps:.0f}" if mbps >= 10 else f"{mbps:.1f}"
