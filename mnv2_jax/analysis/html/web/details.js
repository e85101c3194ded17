// ---- The details of a run: its curve, config and environment.

function detailsOf(run) {
  const error = report.runs.error[run];
  return element("div", { class: "details" },
    error ? element("pre", { tabindex: 0, role: "region", "aria-label": "Error" }, error) : null,
    element("div", { class: "beside" },
      element("div", {}, element("h4", {}, "Learning curve"), curveOf(run)),
      element("div", {},
        element("h4", {}, "Config, where runs differ"),
        entries(valuesOf(report.config, run), "All runs have the same config, or none was recorded."),
        element("h4", {}, "Environment, where runs differ"),
        entries(valuesOf(report.environment, run), "The same for all runs; see Environment."))),
    element("details", {},
      element("summary", {}, "Config that all runs share"),
      entries(report.config.shared, "Nothing is shared, or no config was recorded.", "columns")));
}

function valuesOf({ differing }, run) {
  return Object.fromEntries(
    Object.entries(differing).map(([path, { values, codes }]) => [path, values[codes[run]]]));
}

function entries(record, nothing, css = "") {
  const pairs = Object.entries(record);
  if (!pairs.length) return element("p", { class: "quiet" }, nothing);
  return element("dl", { class: `entries ${css}` }, ...pairs.map(([path, text]) =>
    element("div", {}, element("dt", {}, path), element("dd", {}, text === "" ? "none" : text))));
}

/** A small chart of accuracy over epochs: validation solid, training dashed. */
function curveOf(run) {
  const curve = report.curves.runs[run];
  const values = curve ? curve.slice(1).flat().filter((value) => value !== null) : [];
  if (!values.length) return element("p", { class: "quiet" }, "No curve was recorded.");
  const [number_, validation, train] = curve;
  const epochs = report.curves.epochs[number_];
  const [width, height, left, bottom, top] = [340, 170, 34, 22, 8];
  const low = Math.floor(Math.min(...values) / 5) * 5;
  const high = Math.max(low + 5, Math.ceil(Math.max(...values) / 5) * 5);
  const last = epochs.at(-1);
  const x = (epoch) => left + (width - left - 8) * (last === epochs[0] ? 0.5 : (epoch - epochs[0]) / (last - epochs[0]));
  const y = (value) => top + (height - top - bottom) * (high - value) / (high - low);
  const path = (line) => {
    let pen = "M";
    return line.map((value, index) => {
      if (value === null) { pen = "M"; return ""; }
      const step = `${pen}${x(epochs[index]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return step;
    }).join("");
  };
  const final = (line) => number(line.findLast((value) => value !== null) ?? null, 1);
  const summary = `Validation accuracy ends at ${final(validation)} %, training accuracy at ${final(train)} %.`;
  const grid = [low, (low + high) / 2, high].flatMap((value) => [
    element("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value), class: "grid" }),
    element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value, Number.isInteger(value) ? 0 : 1)),
  ]);
  return element("div", { class: "curve" },
    element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary }, ...grid,
      element("text", { x: left, y: height - 5 }, `Epoch ${epochs[0]}`),
      element("text", { x: width - 8, y: height - 5, "text-anchor": "end" }, String(last)),
      element("path", { d: path(train), class: "train" }),
      element("path", { d: path(validation), class: "validation" })),
    element("p", { class: "quiet" }, `Validation (solid) ends at ${final(validation)} %, training (dashed) at ${final(train)} %.`));
}
