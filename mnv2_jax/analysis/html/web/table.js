// ---- The table of runs: a page of rows at a time, so that 5,000 of them open at once.

const pageSize = 10;
const columns = [
  { label: "Run", text: (run) => report.runs.run_id[run] },
  { label: "Status", text: (run) => report.runs.status[run] },
  ...report.axes.map((axis) => ({
    label: axis.label, numeric: axis.numeric,
    text: (run) => axis.texts[axis.codes[run]], key: (run) => axis.codes[run],
  })),
  ...report.measured.map(({ key, label: text, digits }) => ({
    label: text, numeric: true,
    text: (run) => number(report.runs[key][run], digits), key: (run) => report.runs[key][run],
  })),
];
const order = { column: null, down: false };
const opened = new Set();
let page = 0;
let sorted = everyRun;

function sortRuns() {
  sorted = [...selected];
  const { column, down } = order;
  if (!column) return;
  const collator = new Intl.Collator("en", { numeric: true });
  const key = column.key ?? column.text;
  sorted.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null); // no value goes last, both ways
    return (column.key ? x - y : collator.compare(x, y)) * (down ? -1 : 1);
  });
}

function rowOf(run) {
  const id = `details-${run}`;
  const open = opened.has(run);
  const name = button(columns[0].text(run), () => toggleRun(run), {
    "aria-expanded": String(open), "aria-controls": open ? id : null, "data-run": run,
  });
  const cells = columns.slice(1).map((column) =>
    element("td", { class: column.numeric ? "number" : null }, column.text(run)));
  const row = element("tr", { class: `run ${report.runs.status[run]}` }, element("th", { scope: "row" }, name), ...cells);
  if (!open) return [row];
  return [row, element("tr", { id, class: "opened" }, element("td", { colspan: columns.length }, detailsOf(run)))];
}

function toggleRun(run) {
  if (opened.has(run)) opened.delete(run); else opened.add(run);
  drawRows();
  table.body.querySelector(`button[data-run="${run}"]`)?.focus({ preventScroll: true });
}

/** Shows a run that was picked in a chart. */
function openRun(run) {
  page = Math.floor(Math.max(0, sorted.indexOf(run)) / pageSize);
  opened.add(run);
  drawRows();
  const name = table.body.querySelector(`button[data-run="${run}"]`);
  name?.scrollIntoView({ block: "start" });
  name?.focus({ preventScroll: true });
}

function drawRows() {
  const start = page * pageSize;
  const end = Math.min(sorted.length, start + pageSize);
  table.body.replaceChildren(...sorted.slice(start, end).flatMap(rowOf));
  table.range.textContent = sorted.length ? `${number(start + 1, 0)} to ${number(end, 0)} of ${number(sorted.length, 0)}` : "No run is left by the filters";
  table.before.disabled = page === 0;
  table.after.disabled = end >= sorted.length;
  table.pager.hidden = sorted.length <= pageSize && sorted.length > 0;
}

function turn(by) {
  page += by;
  drawRows();
}

function header(column) {
  const cell = element("th", { scope: "col", class: column.numeric ? "number" : null });
  cell.append(button(column.label, () => {
    order.down = order.column === column && !order.down;
    order.column = column;
    for (const other of cell.parentNode.children) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    page = 0;
    sortRuns();
    drawRows();
  }));
  return cell;
}

const table = {
  body: element("tbody"),
  range: element("output", { "aria-live": "polite" }),
  before: button("Previous", () => turn(-1)),
  after: button("Next", () => turn(1)),
};
table.pager = element("div", { class: "status" }, table.range, table.before, table.after);

function drawTable(place) {
  const shown = element("span");
  const hint = element("span", { class: "screen" }, " Open a run for its config and curve.");
  const save = button("CSV", () => download("runs.csv", runsAsCsv(), "text/csv"), { "aria-label": "CSV of these runs" });
  const all = element("span", {}, " All of them are in ", element("a", { href: "results.csv" }, "results.csv"), ".");
  listeners.push(() => {
    shown.textContent = `${countText()}${selected.length < count ? ", as filtered above" : ""}.`;
    page = 0;
    sortRuns();
    drawRows();
  });
  const head = element("thead", {}, element("tr", {}, ...columns.map(header)));
  place.append(element("p", { class: "quiet" }, shown, hint, all), element("p", { class: "files screen" }, save),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Runs" }, element("table", {}, head, table.body)),
    table.pager);
}
