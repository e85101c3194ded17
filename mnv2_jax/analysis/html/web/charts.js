// ---- Charts: Vega-Lite specifications with computed rows. The page sets their size, and draws the
// rows of the runs that the filters keep.

const paperWidth = 700; // pixels: charts for a wide screen would have too small a print on paper
const drawn = new Map(); // name of a chart: its Vega view

for (const chart of Object.values(report.charts)) {
  chart.rows = chart.rows.map((cells) => Object.fromEntries(cells.map((cell, at) => [chart.fields[at], cell])));
}

/** The rows of a chart whose sets are chosen; of a part of a larger set, if exactly it is chosen. */
function chosenRows({ rows, sets }) {
  const chosen = new Set(selected);
  const isDrawn = sets.map(({ runs, of }) => {
    const whole = of === undefined ? runs : sets[of].runs.filter((run) => chosen.has(run));
    return whole.length === runs.length && runs.every((run) => chosen.has(run));
  });
  return rows.filter(({ set }) => (set ?? null) === null || isDrawn[set]);
}

/** A chart's specification for `width` pixels, with panels side by side if there is room. */
function fitted({ spec: given }, width) {
  const spec = structuredClone(given);
  const { room, entry, grow, ends } = spec.usermeta;
  if (spec.columns && width < 560) spec.columns = 1;
  const columns = spec.columns ?? 1;
  const axes = (spec.concat ? columns : 1) * room;
  const panel = Math.floor((width - axes - 24 * (columns - 1)) / columns);
  for (const view of spec.spec ? [spec.spec] : spec.concat ?? [spec]) {
    view.width = panel;
    if (grow) view.height = Math.min(Math.max(view.height, 0.4 * panel), 400);
  }
  spec.params?.forEach((end, at) => { end.value = heights(ends)[at]; });
  const beside = Math.max(1, Math.floor((spec.concat ? panel : width - axes) / entry));
  const legend = { ...report.chart_config.legend, columns: beside };
  return { ...spec, config: { ...report.chart_config, legend } };
}

/** The ends of y, which means of some runs may need further apart than those of all. */
function heights([whole, withParts]) {
  return selected.length < count ? withParts : whole;
}

async function drawChart(name, width) {
  const place = document.getElementById(`chart-${name}`);
  const chart = report.charts[name];
  const spec = fitted(chart, width ?? place.clientWidth);
  spec.datasets = { rows: chart.sets.length ? withMessage(place, chosenRows(chart)) : chart.rows };
  const { view } = await vegaEmbed(place, spec, {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false,
    tooltip: (_, event, item, value) => showTooltip(chart, event, value),
    logLevel: 1, // errors: it warns of charts that filters have emptied
  });
  drawn.get(name)?.finalize();
  drawn.set(name, view);
  view.addEventListener("click", (_, item) => {
    const run = runOf(chart, item?.datum);
    if (run !== undefined) openRun(run);
  });
}

/** Returns rows, after it has shown a message above the chart if they have no mean. */
function withMessage(place, rows) {
  const message = place.previousElementSibling;
  const hasMean = rows.some(({ part, set }) => part !== "point" && (set ?? null) !== null);
  message.textContent = selected.length ? "No mean of this chart is of the chosen runs alone." : "No run is chosen.";
  message.hidden = hasMean && selected.length > 0;
  place.classList.toggle("empty", !rows.length); // not hidden: it would have no width to draw for
  return rows;
}

function updateCharts() {
  for (const [name, view] of drawn) {
    const chart = report.charts[name];
    if (!chart.sets.length) continue; // claims are decided on all runs
    const { ends } = chart.spec.usermeta;
    if (ends) ["low", "high"].forEach((end, at) => view.signal(end, heights(ends)[at]));
    view.data("rows", withMessage(document.getElementById(`chart-${name}`), chosenRows(chart))).runAsync();
  }
}

async function drawCharts(width) {
  for (const name of Object.keys(report.charts)) await drawChart(name, width);
  performance.mark("charts drawn");
}

/** Draws again when the page changes its width, or goes to paper. */
function followWidth() {
  let width = document.documentElement.clientWidth;
  let timer;
  window.addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (document.documentElement.clientWidth === width || matchMedia("print").matches) return;
      width = document.documentElement.clientWidth;
      drawCharts();
    }, 150);
  });
  // Vega draws within this turn of the event loop, so that all of it is on paper.
  window.addEventListener("beforeprint", () => drawCharts(paperWidth));
  window.addEventListener("afterprint", () => drawCharts());
}

// ---- The tooltip.

const tooltip = element("div", { id: "tooltip", role: "status", hidden: true });

/** The run that a point stands for, if it is one. */
function runOf({ sets }, row) {
  const runs = row?.part === "point" ? sets[row.set].runs : [];
  return runs.length === 1 ? runs[0] : undefined;
}

function showTooltip(chart, event, value) {
  if (!value || typeof value !== "object") {
    tooltip.hidden = true;
    return;
  }
  const run = runOf(chart, value);
  const ofSeed = () => ({ Seed: value.seed, Mean: number(value.y, 2), Runs: chart.sets[value.set].runs.length });
  const texts = run !== undefined ? ofRun(run) : value.part === "point" ? ofSeed() : value;
  const known = Object.entries(texts).filter(([, text]) => text !== "" && text !== "null"); // no interval, say
  const entries = known.map(([name, text]) =>
    [element("dt", {}, name), element("dd", {}, String(text))]);
  tooltip.replaceChildren(element("dl", {}, ...entries.flat()));
  tooltip.hidden = false;
  const { width, height } = tooltip.getBoundingClientRect();
  const right = event.clientX + 14 + width < document.documentElement.clientWidth;
  const left = right ? event.clientX + 14 : Math.max(4, event.clientX - 14 - width);
  const top = Math.min(event.clientY + 14, window.innerHeight - height - 4);
  tooltip.style.left = `${left}px`;
  tooltip.style.top = `${Math.max(4, top)}px`;
}

function ofRun(run) {
  const { run_id, madds } = report.runs;
  const metrics = report.measured.filter(({ key, isMetric }) => isMetric && report.runs[key][run] !== null);
  return {
    Run: run_id[run],
    ...Object.fromEntries(report.axes.map((axis) => [axis.label, label(axis, run)])),
    ...Object.fromEntries(metrics.map(({ key, label: text, digits }) => [text, number(report.runs[key][run], digits)])),
    MAdds: number(madds[run], 0),
  };
}
