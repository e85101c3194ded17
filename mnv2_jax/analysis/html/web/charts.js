// ---- Charts: Vega-Lite specifications with computed rows. The page sets their size, and draws the
// rows of the runs that the filters keep. A figure shows one of its charts, which selectors choose.

const paperWidth = 700; // pixels: charts for a wide screen would have too small a print on paper
const drawn = new Map(); // name of a figure: its Vega view

/** By the name of its first chart: all charts of a figure, the shown one, and whether y is shared. */
const figures = new Map();
for (const [name, chart] of Object.entries(report.charts)) {
  const { fields, texts } = chart;
  const value = (field, cell) => (cell === null ? null : texts[field]?.[cell] ?? cell);
  chart.rows = chart.rows.map((cells) => Object.fromEntries(cells.map((cell, at) => [fields[at], value(fields[at], cell)])));
  chart.sets = report.sets[chart.sets];
  const figure = chart.figure || name;
  if (!figures.has(figure)) figures.set(figure, { name: figure, charts: [], shown: chart, same: Boolean(chart.spec.facet) });
  figures.get(figure).charts.push(chart);
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

/** A specification with y axes that are shared by all panels, or each panel's own. */
function withEnds(spec, same) {
  const { own, same: shared } = spec.usermeta.y ?? {};
  const ends = same ? shared : own;
  if (!ends || ends.length < 2) return spec;
  const { facet, spec: inner, concat, ...rest } = spec;
  const panels = concat ?? facet.sort.map((title) => ({
    ...structuredClone(inner), title: title.split("\n"), transform: [{ filter: { field: "panel", equal: title } }],
  }));
  panels.forEach(({ layer }, at) => {
    for (const { y } of layer.map(({ encoding }) => encoding)) if (y?.scale) y.scale = { nice: false, zero: false, domain: ends[at] };
  });
  return { ...rest, concat: panels };
}

/** A chart's specification for `width` pixels, with panels side by side if there is room. */
function fitted({ spec: given }, width, same) {
  const spec = withEnds(structuredClone(given), same);
  const { room, entry, grow, ends, narrowest = 280, widest = 760 } = spec.usermeta;
  while (spec.columns > 1 && width / spec.columns < narrowest) spec.columns -= 1;
  const columns = spec.columns ?? 1;
  const axes = (spec.concat ? columns : 1) * room;
  const panel = Math.min(widest, Math.floor((width - axes - 24 * (columns - 1)) / columns));
  for (const view of spec.spec ? [spec.spec] : spec.concat ?? [spec]) {
    view.width = panel;
    if (grow) view.height = Math.min(Math.max(view.height, 0.4 * panel), 400);
  }
  if (ends) spec.params?.forEach((end, at) => { end.value = heights(ends)[at]; });
  const beside = Math.max(1, Math.floor((spec.concat ? panel : width - axes) / entry)) || 1;
  const legend = { ...report.chart_config.legend, columns: beside };
  return { ...spec, config: { ...report.chart_config, legend } };
}

/** The ends of y, which means of some runs may need further apart than those of all. */
function heights([whole, withParts]) {
  return selected.length < count ? withParts : whole;
}

function embed(place, chart, spec) {
  return vegaEmbed(place, spec, {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false,
    tooltip: (_, event, item, value) => showTooltip(chart, event, value),
    logLevel: 1, // errors: it warns of charts that filters have emptied
  });
}

/** Draws a figure after what is drawn in its place already. */
function drawFigure(figure, width) {
  figure.drawn = (figure.drawn ?? Promise.resolve()).then(() => drawNow(figure, width));
  return figure.drawn;
}

async function drawNow(figure, width) {
  const { name, shown: chart, same } = figure;
  const place = document.getElementById(`chart-${name}`);
  const spec = fitted(chart, width ?? place.clientWidth, same);
  spec.datasets = { rows: chart.sets.length ? withMessage(place, chosenRows(chart)) : chart.rows };
  const { view } = await embed(place, chart, spec);
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
    const { shown: chart } = figures.get(name);
    if (!chart.sets.length) continue; // claims are decided on all runs
    const { ends } = chart.spec.usermeta;
    if (ends) ["low", "high"].forEach((end, at) => view.signal(end, heights(ends)[at]));
    view.data("rows", withMessage(document.getElementById(`chart-${name}`), chosenRows(chart))).runAsync();
  }
}

async function drawCharts(width) {
  for (const figure of figures.values()) await drawFigure(figure, width);
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

// ---- Selectors and files of a figure.

/** Makes the selectors and buttons of a figure, and shows the chart that the address names. */
function drawControls(figure) {
  const { name, charts } = figure;
  const [first] = charts;
  const selectors = Object.keys(first.choice).map((key) => {
    const texts = [...new Set(charts.map(({ choice }) => choice[key]))];
    const noted = address.get(`${name}.${key}`);
    const made = element("select", {}, ...texts.map((text) => element("option", { selected: text === noted }, text)));
    return { key, made, initial: texts[0] };
  }).filter(({ made }) => made.options.length > 1);
  const choose = () => {
    const fits = ({ choice }) => selectors.every(({ key, made }) => choice[key] === made.value);
    figure.shown = charts.find(fits) ?? first;
    for (const { key, made } of selectors) made.value = figure.shown.choice[key];
    const frame = document.getElementById(`chart-${name}`).parentElement;
    frame.querySelector("h3").textContent = figure.shown.heading;
    frame.querySelector("figcaption").textContent = figure.shown.notes;
    toggle.hidden = (figure.shown.spec.usermeta.y?.own.length ?? 0) < 2;
  };
  for (const { key, made, initial } of selectors) {
    made.addEventListener("change", () => {
      choose();
      note(`${name}.${key}`, made.value === initial ? null : [made.value]);
      drawFigure(figure);
    });
  }
  const byDefault = figure.same;
  figure.same = address.has(`${name}.y`) ? address.get(`${name}.y`) === "same" : byDefault;
  const box = element("input", { type: "checkbox", checked: figure.same });
  box.addEventListener("change", () => {
    figure.same = box.checked;
    note(`${name}.y`, figure.same === byDefault ? null : [figure.same ? "same" : "own"]);
    drawFigure(figure);
  });
  const toggle = element("label", {}, box, "Same y axis in all panels");
  choose();
  const save = (suffix) => button(suffix, () => saveAs(figure, suffix.toLowerCase()), {
    "aria-label": `${suffix}: ${figure.shown.heading}`,
    title: suffix === "CSV" && figure.shown.sets.length ? "The chosen runs" : null,
  });
  document.getElementById(`chart-${name}`).parentElement.querySelector(".controls").append(
    ...selectors.map(({ key, made }) => element("label", {}, key, made)), toggle,
    element("span", { class: "files" }, ...["CSV", "SVG", "PNG"].map(save)));
}

async function saveAs(figure, suffix) {
  const { name, shown: chart } = figure;
  const fields = chart.fields.filter((field) => field !== "view");
  const rows = () => csv([fields, ...chart.rows.map((row) => fields.map((field) => row[field]))]);
  if (suffix === "csv") return download(`${name}.csv`, chart.sets.length ? runsAsCsv() : rows(), "text/csv");
  const view = await asFile(figure);
  if (suffix === "svg") download(`${name}.svg`, await view.toSVG(), "image/svg+xml");
  else download(`${name}.png`, await view.toImageURL("png", 2), "image/png");
  view.finalize();
}

/** A view for files: colours of the page instead of its variables, and notes below the chart. */
async function asFile({ shown: chart, same }) {
  const spec = fitted(chart, paperWidth, same);
  const lines = chart.notes.match(/.{1,110}(\s|$)/g) ?? [];
  const below = { text: lines, orient: "bottom", anchor: "start", fontSize: 11, fontWeight: "normal", color: "var(--quiet)", offset: 14 };
  const whole = JSON.stringify({ ...spec, title: below, padding: 8, config: { ...spec.config, background: "var(--page)" } });
  const style = getComputedStyle(document.documentElement);
  const coloured = JSON.parse(whole.replaceAll(/var\((--[\w-]+)\)/g, (_, variable) => style.getPropertyValue(variable).trim()));
  coloured.datasets = { rows: chart.sets.length ? chosenRows(chart) : chart.rows };
  return (await embed(element("div"), chart, coloured)).view;
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
