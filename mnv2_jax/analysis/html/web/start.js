// ---- Everything is drawn, then follows the filters.

document.body.append(tooltip);
if (report.axes.length) drawFilters(document.getElementById("filters"));
for (const figure of figures.values()) drawControls(figure);
drawTable(document.getElementById("run-table"));
select();
performance.mark("table drawn");
listeners.push(updateCharts);
drawCharts();
followWidth();
// On paper nothing can be unfolded, and a claim's notes belong to it.
for (const [name, open] of [["beforeprint", true], ["afterprint", false]]) {
  window.addEventListener(name, () => {
    for (const details of document.querySelectorAll(".claims details")) details.open = open;
  });
}
