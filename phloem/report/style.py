"""The page's style sheet: one column, light and dark, readable on a phone and on paper.

The colours are Okabe and Ito's, which colour-blind readers can tell apart, darkened or lightened
until they stand out from the page; lines and marks also differ in shape. Classes have Tol's muted colours.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f4; --card: #ffffff; --ink: #1b2024; --soft: #59636c; --grid: #e4e7e9; --axis: #aeb6bd;
  --up: #0072b2; --down: #d17c00; --run: #007a5a; --reference: #6b7480; --good: #007a5a; --bad: #c44d00;
  --class-0: #332288; --class-1: #88ccee; --class-2: #44aa99; --class-3: #117733; --class-4: #999933;
  --class-5: #ddcc77; --class-6: #cc6677; --class-7: #882255; --class-8: #aa4499; --class-9: #777777;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121517; --card: #1a1e21; --ink: #e7eaec; --soft: #a2acb4; --grid: #2b3136; --axis: #59636b;
    --up: #56b4e9; --down: #eda52c; --run: #35c79c; --reference: #9aa5ae; --good: #35c79c; --bad: #f58a4b;
    --class-0: #6a5acd; --class-3: #2e9e57; --class-7: #b5446e;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header p:first-child { color: var(--soft); margin: 0; overflow-wrap: anywhere; }
header p:first-child b { color: var(--run); letter-spacing: .02em; }
h1 { font-size: clamp(1.75rem, 4.5vw, 2.75rem); line-height: 1.12; letter-spacing: -.02em; }
h1 { margin: .4rem 0 .6rem; }
h2 { font-size: 1.25rem; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 0; }
p { text-wrap: pretty; }
.lead { font-size: 1.125rem; max-width: 48rem; margin: 0 0 1.5rem; }
.note { color: var(--soft); margin: 0 0 .75rem; max-width: 48rem; }

section, .tiles div { background: var(--card); border: 1px solid var(--grid); border-radius: 12px; }
section { padding: 1.25rem 1.4rem; margin-top: 1.25rem; }
.figure { width: 100%; overflow: hidden; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
.pair { gap: 1.5rem 2.5rem; }
.pair > div { min-width: 0; }
.pair .note { margin: 0 0 .25rem; }

.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1rem; margin: 0; }
.tiles div { padding: 1rem 1.1rem; }
.tiles dt { color: var(--soft); font-size: .875rem; }
.tiles dd { margin: 0; }
.tiles .value { font-size: 1.9rem; font-weight: 650; line-height: 1.3; letter-spacing: -.02em; }
.tiles .value { white-space: nowrap; }
.tiles .value span { font-size: 1rem; font-weight: 400; letter-spacing: 0; color: var(--soft); }
.tiles .behind { color: var(--soft); font-size: .8125rem; line-height: 1.4; text-wrap: balance; }
.small { display: flex; flex-wrap: wrap; gap: .35rem 1.75rem; margin: 1rem 0 0; padding: 0 .1rem; }
.small div { display: flex; gap: .45rem; }
.small dt { color: var(--soft); }
.small dd { margin: 0; font-weight: 600; }

.scroll { overflow: auto; max-height: 32rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .75rem; white-space: nowrap; }
th, td { border-bottom: 1px solid var(--grid); vertical-align: baseline; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: .25rem; }
tbody tr:last-child td { border-bottom: 0; }
.words { text-align: left; }
td.words, td.name { white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
td.words:last-child { min-width: 14rem; }
thead th { position: sticky; top: 0; background: var(--card); color: var(--soft); font-weight: 600; }
th button { all: unset; cursor: pointer; }
th button:hover { color: var(--ink); }
th button:focus-visible, summary:focus-visible { outline: 2px solid var(--up); outline-offset: 3px; }
th button::after { content: " \\2195"; opacity: .45; }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
details { margin-top: .75rem; }
summary { color: var(--soft); cursor: pointer; }

code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code, pre { font-size: .8125rem; }
pre { background: var(--page); border-radius: 8px; padding: .9rem 1rem; margin: .5rem 0 1.25rem; }
pre { overflow: auto; max-height: 28rem; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: .5rem 0 1.25rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
section > :last-child { margin-bottom: 0; }
footer { color: var(--soft); font-size: .875rem; margin-top: 1.5rem; max-width: 48rem; }

@media (max-width: 60rem) { .tiles { grid-template-columns: repeat(2, 1fr); } }
@media (max-width: 32rem) {
  main { padding: 1.5rem .75rem 3rem; }
  section { padding: 1rem .85rem; }
  .tiles { gap: .6rem; }
  .tiles div { padding: .75rem .8rem; }
  .tiles .value { font-size: 1.5rem; }
  table { font-size: .875rem; }
  th, td { padding: .35rem .4rem; }
  th { white-space: normal; vertical-align: bottom; }
  td.name { min-width: 4.5rem; }
  td.words:last-child { min-width: 9rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .5rem; }
}
@media print {
  section { break-inside: avoid; }
  .scroll, pre { max-height: none; overflow: visible; }
}
"""
