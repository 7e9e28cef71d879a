"""Write docs/articles.md from what the experiments left in results/.

python examples/articles/table.py            writes the page
python examples/articles/table.py --missing  says which claims were not measured, on which data and seeds
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.articles.claim import Claim

CLAIMS = (
    "int8",
    "channels",
    "student",
    "speed",
    "generalisation",
    "zeros",
    "rounding",
    "temperature",
    "factors",
    "stages",
    "search",
)
SEEDS = (1, 2, 3)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "articles.md"

HEAD = """# What the articles claim, measured

Four articles on compressing models were where phloem's shrinking of models began. Each of their claims is
an experiment here, with one command: `python examples/articles/NAME.py`. This page is written from the
results by `python examples/articles/table.py`.

The teacher has 58k weights and is trained with labels in one place. Everything smaller is made as phloem's
server makes it: taught on **unlabelled** inputs that the teacher was not trained on (270 digits, or 4,000
images of Fashion-MNIST, and mixtures of them), chosen on validation samples, reported on the test set.
Fashion-MNIST is a subset that two cores can bear: 8,000 training, 4,000 proxy, 2,000 validation and 4,000
test images. One test item is 0.22 points of the digits and 0.025 of Fashion-MNIST: smaller differences say
nothing. Seeds 1 to 3 unless a row says less, 22 November 2026, CPU only.
"""


def claims() -> list[Claim]:
    """Return all claims, in the order of the page."""
    return [importlib.import_module(f"examples.articles.{name}").CLAIM for name in CLAIMS]


def page() -> str:
    """Return the page as the results have it."""
    rows = [
        "| claim | as written | corrected | measured, and the verdict |",
        "|---|---|---|---|",
    ]
    sections = []
    for claim in claims():
        means = claim.means()
        verdict = claim.verdict(means) if means else "Not measured yet."
        seeds = sorted({int(row["seeds"]) for by_what in means.values() for row in by_what.values()})
        note = f" ({'-'.join(map(str, seeds))} seeds)" if seeds else ""
        rows.append(
            f"| [{claim.name}](../examples/articles/{claim.name}.py): {claim.says} "
            f"| {_code(claim.as_written)} | {_code(claim.corrected)} | {_cell(verdict)}{note} |"
        )
        sections += _section(claim)
    return (
        "\n".join([HEAD, *rows, "", "## Figures", "", "Means over the seeds.", "", *sections]).rstrip() + "\n"
    )


def missing() -> list[str]:
    """Return what was not measured."""
    return [
        f"{claim.name} {data} seed {seed}"
        for claim in claims()
        for data in claim.data
        for seed in SEEDS
        if not any((row["data"], row["seed"]) == (data, seed) for row in claim.rows())
    ]


def _section(claim: Claim) -> list[str]:
    lines = []
    for data, by_what in claim.means().items():
        columns = [key for key in next(iter(by_what.values())) if key != "seeds"]
        lines += [
            f"### {claim.name}, {data}",
            "",
            "| | " + " | ".join(column.replace("_", " ") for column in columns) + " | seeds |",
            "|---|" + "---:|" * (len(columns) + 1),
            *(
                f"| {what} | "
                + " | ".join(_number(row[column]) for column in columns)
                + f" | {row['seeds']:.0f} |"
                for what, row in by_what.items()
            ),
            "",
        ]
    return [*lines, claim.note, ""] if lines and claim.note else lines


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def _code(formula: str) -> str:
    return f"`{_cell(formula)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page, or say what it lacks."""
    parser = argparse.ArgumentParser(description="Write docs/articles.md from the results.")
    parser.add_argument("--missing", action="store_true", help="say what was not measured instead")
    if parser.parse_args().missing:
        print("\n".join(missing()) or "Everything was measured.")
        return
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} written; not measured: {', '.join(missing()) or 'nothing'}")


if __name__ == "__main__":
    main()
