"""The page's own script: draws the figures in the reader's theme and sorts the table of clients."""

SCRIPT = """
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const css = getComputedStyle(document.documentElement);

// Colours come by name, so that one figure serves the light and the dark theme.
function painted(value) {
  if (typeof value === "string" && value.startsWith("--")) return css.getPropertyValue(value).trim();
  if (Array.isArray(value)) return value.map(painted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner)]));
}

function draw() {
  const look = {
    font: { family: css.fontFamily, size: 13, color: "--ink" },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 12, t: 8, b: 8 },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
    hoverlabel: { bgcolor: "--card", bordercolor: "--axis", font: { color: "--ink" } },
    dragmode: false,
  };
  const settings = { displayModeBar: false };
  for (const { name, traces, layout } of figures) {
    const place = document.getElementById(name);
    const whole = { ...look, ...layout, height: place.clientHeight };
    Plotly.react(place, painted(traces), painted(whole), settings);
  }
}

function sortBy(head) {
  const body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "ascending" : "descending");
  const key = (row) => row.cells[head.cellIndex].dataset.value;
  const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
  body.append(...[...body.rows].sort((a, b) => (down ? order(a, b) : order(b, a))));
}

draw();
const resized = new ResizeObserver((places) => places.forEach(({ target }) => Plotly.Plots.resize(target)));
for (const { name } of figures) resized.observe(document.getElementById(name));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => sortBy(button.parentElement));
"""
