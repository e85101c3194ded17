// The report's page. charts.js, details.js, table.js and start.js follow in the same script. Text
// from the records goes into the page as text nodes only, never as markup.
"use strict";

document.documentElement.classList.add("scripted"); // without it, places for charts are hidden

const report = JSON.parse(document.getElementById("data").textContent);
const count = report.runs.run_id.length;
const everyRun = Array.from({ length: count }, (_, run) => run);

/** Makes an element; attributes that are false, null or undefined are left out. */
function element(tag, attributes = {}, ...children) {
  const made = svgTags.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
const svgTags = new Set(["svg", "path", "line", "text"]);

function button(text, onClick, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", onClick);
  return made;
}

function number(value, digits) {
  if (value === null) return "";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function label(axis, run) {
  return axis.labels[axis.codes[run]];
}

// ---- The address, in which filters and selectors stand after #, to be sent or kept. A link to a
// section has no "=" and is none.

const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

/** Notes values under a key; null if nothing differs from a freshly opened page. */
function note(key, values) {
  address.delete(key);
  for (const value of values ?? []) address.append(key, value);
  history.replaceState(null, "", `#${address}`);
}

// ---- Filters: for every axis the values that are kept.

const kept = new Map(report.axes.map((axis) => {
  const noted = address.getAll(axis.name);
  const codes = [...axis.labels.keys()];
  const known = noted.some((text) => text === "" || axis.labels.includes(text));
  return [axis, new Set(known ? codes.filter((code) => noted.includes(axis.labels[code])) : codes)];
}));
const listeners = [];
let selected = everyRun;

function select() {
  const narrowed = report.axes.filter((axis) => kept.get(axis).size < axis.labels.length);
  selected = everyRun.filter((run) =>
    narrowed.every((axis) => kept.get(axis).has(axis.codes[run])));
  for (const listener of listeners) listener();
}

/** Notes which values of an axis are kept: "" if there are none. */
function noteKept(axis) {
  const chosen = [...kept.get(axis)].sort((a, b) => a - b).map((code) => axis.labels[code]);
  note(axis.name, chosen.length === axis.labels.length ? null : chosen.length ? chosen : [""]);
}

function countText() {
  const all = number(count, 0);
  const runs = count === 1 ? "run" : "runs";
  return selected.length === count ? `All ${all} ${runs}` : `${number(selected.length, 0)} of ${all} ${runs}`;
}

function filterGroup(axis) {
  const chosen = kept.get(axis);
  const boxes = axis.labels.map((text, code) => {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(code); else chosen.delete(code);
      refresh();
      noteKept(axis);
      select();
    });
    return { box, line: element("label", {}, box, element("span", {}, text)) };
  });
  const toggle = button("None", () => {
    const all = chosen.size < axis.labels.length;
    for (const code of axis.labels.keys()) if (all) chosen.add(code); else chosen.delete(code);
    refresh();
    noteKept(axis);
    select();
  }, { class: "toggle" });
  function refresh() {
    boxes.forEach(({ box }, code) => { box.checked = chosen.has(code); });
    const all = chosen.size < axis.labels.length;
    toggle.textContent = all ? "All" : "None";
    toggle.setAttribute("aria-label", `${axis.label}: ${all ? "all" : "none"}`);
  }
  refresh();
  const group = element("fieldset", {},
    element("legend", {}, axis.label), toggle,
    element("div", { class: "values" }, ...boxes.map(({ line }) => line)));
  return { group, refresh };
}

function drawFilters(place) {
  const groups = report.axes.map(filterGroup);
  const live = element("output", { "aria-live": "polite" });
  const reset = button("Reset", () => {
    for (const [axis, chosen] of kept) for (const code of axis.labels.keys()) chosen.add(code);
    for (const { refresh } of groups) refresh();
    for (const axis of report.axes) noteKept(axis);
    select();
  });
  listeners.push(() => {
    live.textContent = countText();
    reset.disabled = report.axes.every((axis) => kept.get(axis).size === axis.labels.length);
  });
  place.append(
    element("div", { class: "groups" }, ...groups.map(({ group }) => group)),
    element("p", { class: "status" }, live, reset));
}

// ---- Files.

function download(name, content, type) {
  const href = content.startsWith("data:") ? content : URL.createObjectURL(new Blob([content], { type }));
  element("a", { href, download: name }).click();
}

/** Text of a table, whose cells are texts, numbers or null. */
function csv(rows) {
  const cell = (value) => /[",\r\n]/.test(value ?? "") ? `"${value.replaceAll('"', '""')}"` : value ?? "";
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

/** The table of the chosen runs, named and in units as in results.csv. */
function runsAsCsv() {
  const { run_id, status, seed } = report.runs;
  const axes = report.axes.filter(({ name }) => name !== "seed");
  const head = ["run_id", "status", ...axes.map(({ name }) => name), "seed", ...report.measured.map(({ key }) => key)];
  const stored = ({ key, scale }, run) => {
    const value = report.runs[key][run];
    return value === null ? null : Number((value / scale).toPrecision(9));
  };
  return csv([head, ...selected.map((run) => [
    run_id[run], status[run], ...axes.map(({ cells, codes }) => cells[codes[run]]), seed[run],
    ...report.measured.map((column) => stored(column, run)),
  ])]);
}
