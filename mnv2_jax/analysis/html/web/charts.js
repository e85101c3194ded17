// ---- Charts: Vega-Lite specifications, drawn as SVG, with rows from the runs that the filters keep.

const mostCells = 150; // thin learning curves, beyond which they are a smear
const paperWidth = 700; // pixels: what is drawn for a wide screen has too small a print on paper
const drawn = new Map(); // name of a chart: its Vega view

/** The finished runs among `runs`, as Vega's rows. */
function runRows(runs) {
  const { run_id, status, seed, test_accuracy, madds } = report.runs;
  const rows = [];
  for (const run of runs) {
    if (status[run] !== "done" || test_accuracy[run] === null) continue;
    const row = {
      run, run_id: run_id[run], seed: seed[run], madds: madds[run], test_accuracy: test_accuracy[run],
    };
    for (const axis of report.axes) {
      row[axis.key] = label(axis, run);
      if (axis.key === report.x) row.x = axis.numbers ? axis.numbers[axis.codes[run]] : row[axis.key];
    }
    rows.push(row);
  }
  return rows;
}

/** Mean curves of `runs`: one for each cell of the design, and one for each colour and panel. */
function curveRows(runs) {
  const shown = report.axes.filter(({ key }) => key === report.curve_hue || key === report.panel);
  const cells = report.axes.filter(({ name }) => name !== "seed");
  const means = new Map();
  const single = new Map();
  for (const run of runs) {
    const curve = report.curves.runs[run];
    if (curve === null || report.runs.status[run] !== "done") continue;
    addCurve(means, shown, run, curve);
    addCurve(single, cells, run, curve);
  }
  const rows = curveLines(means, shown, "mean");
  const thin = cells.length > shown.length && single.size <= mostCells;
  return thin ? rows.concat(curveLines(single, cells, "cell")) : rows;
}

function addCurve(lines, axes, run, [epochs, accuracy]) {
  // Runs of different lengths are not averaged: the mean would jump where the shorter ones end.
  const key = [epochs, ...axes.map((axis) => axis.codes[run])].join();
  let line = lines.get(key);
  if (!line) {
    const length = accuracy.length;
    line = { run, epochs, sums: new Float64Array(length), counts: new Uint32Array(length) };
    lines.set(key, line);
  }
  accuracy.forEach((value, index) => {
    if (value === null) return;
    line.sums[index] += value;
    line.counts[index] += 1;
  });
}

function curveLines(lines, axes, level) {
  const rows = [];
  for (const [key, { run, epochs, sums, counts }] of lines) {
    const shared = { level, line: `${level} ${key}`, name: axes.map((axis) => axis.before + label(axis, run)).join(", ") || "all runs" };
    for (const axis of axes) shared[axis.key] = label(axis, run);
    report.curves.epochs[epochs].forEach((epoch, index) => {
      if (!counts[index]) return;
      rows.push({ ...shared, epoch, accuracy: sums[index] / counts[index], runs: counts[index] });
    });
  }
  return rows;
}

/** A chart's specification for a place of `width` pixels: panels side by side where there is room. */
function fitted(name, width) {
  const spec = structuredClone(report.charts[name]);
  const config = structuredClone(report.chart_config);
  const narrow = width < 560;
  if (narrow) {
    config.legend.columns = 1;
    if (spec.facet) spec.columns = 1;
  }
  const columns = spec.columns ?? 1;
  const beside = isOfClaims(name) ? 16 : 64; // what an axis takes
  const panel = spec.spec ?? spec;
  panel.width = Math.floor((width - beside - 28 * (columns - 1)) / columns);
  if (!isOfClaims(name)) {
    panel.height = Math.min(Math.max(panel.height, 0.4 * panel.width), 400);
    if (name === "accuracy") wrapNames(spec, config, panel.width);
    return { ...spec, config, datasets: chartRows(name) };
  }
  const claims = claimRows(spec.width, spec.usermeta.unit);
  const most = Math.max(...claims.map(({ lines }) => lines.length));
  return { ...spec, config, height: { step: 38 + 17 * most }, datasets: { claims } };
}

/** Gives each name along x as many lines as it takes in its share of the width. */
function wrapNames(spec, config, width) {
  const axis = report.axes.find(({ key }) => key === report.x);
  if (!axis || axis.numbers) return;
  const share = Math.floor(width / axis.labels.length) - 8;
  config.axisX.labelLimit = share;
  spec.params.find((param) => param.name === "x_lines").value =
    Object.fromEntries(axis.labels.map((text) => [text, wrapped(text, share)]));
}

/** Whether a chart shows claims: those of each unit have one. */
function isOfClaims(name) {
  return name.startsWith("claims");
}

/** The claims in a unit, each with its statement in as many lines as it takes. */
function claimRows(width, of) {
  return report.claims.filter(({ unit }) => unit === of).map((claim, position) =>
    ({ ...claim, position, lines: wrapped(claim.statement, width) }));
}

/** The lines of a text that is to be at most `width` pixels wide; words stay whole. */
function wrapped(text, width) {
  const letters = Math.floor(width / 7);
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = `${lines.at(-1)} ${word}`.trim();
    if (line.length > letters && lines.at(-1)) lines.push(word); else lines[lines.length - 1] = line;
  }
  return lines;
}

async function drawChart(name, width) {
  const place = document.getElementById(`chart-${name}`);
  const spec = fitted(name, width ?? place.clientWidth);
  sayIfEmpty(name, spec.datasets);
  const { view } = await vegaEmbed(place, spec, {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: showTooltip,
    logLevel: 1, // errors: it warns of charts that filters have emptied
  });
  drawn.get(name)?.finalize();
  drawn.set(name, view);
  view.addEventListener("click", (_, item) => {
    if (Number.isInteger(item?.datum?.run)) openRun(item.datum.run);
  });
}

function chartRows(name) {
  return name === "curves" ? { curves: curveRows(selected) } : { runs: runRows(selected) };
}

function updateCharts() {
  for (const [name, view] of drawn) {
    if (isOfClaims(name)) continue; // decided on all runs
    const datasets = chartRows(name);
    const [[data, rows]] = Object.entries(datasets);
    sayIfEmpty(name, datasets);
    view.data(data, rows).runAsync();
  }
}

/** Puts words in the place of a chart that filters have left without rows. */
function sayIfEmpty(name, datasets) {
  const place = document.getElementById(`chart-${name}`);
  const empty = Object.values(datasets).every((rows) => !rows.length);
  const words = place.previousElementSibling;
  words.textContent = selected.length ? "The chosen runs have nothing to show here." : "No run is chosen.";
  words.hidden = !empty;
  place.classList.toggle("empty", empty); // not hidden: it would have no width to draw for
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
  // Nothing that Vega waits for here takes another turn of the event loop: paper gets all of it.
  window.addEventListener("beforeprint", () => drawCharts(paperWidth));
  window.addEventListener("afterprint", () => drawCharts());
}

// ---- What the pointer is on.

const tooltip = element("div", { id: "tooltip", role: "status", hidden: true });

function showTooltip(_, event, item, value) {
  if (!value || typeof value !== "object") {
    tooltip.hidden = true;
    return;
  }
  const told = Number.isInteger(value.run) ? runTold(value.run) : value;
  const known = Object.entries(told).filter(([, text]) => text !== "null"); // no interval, say
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

function runTold(run) {
  const { run_id, madds } = report.runs;
  const metrics = report.measured.filter(({ key, told }) => told && report.runs[key][run] !== null);
  return {
    Run: run_id[run],
    ...Object.fromEntries(report.axes.map((axis) => [axis.label, label(axis, run)])),
    ...Object.fromEntries(metrics.map(({ key, label: text, digits }) => [text, number(report.runs[key][run], digits)])),
    MAdds: number(madds[run], 0),
  };
}
