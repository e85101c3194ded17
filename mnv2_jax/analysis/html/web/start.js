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

// On paper nothing can be unfolded; long tables stay folded there.
const folded = [...document.querySelectorAll("main details")].filter((one) => !one.querySelector(".tall"));
for (const [name, open] of [["beforeprint", true], ["afterprint", false]]) {
  window.addEventListener(name, () => { for (const details of folded) details.open = open; });
}

// A link to a section would replace what the address says of filters and selectors.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (!link || !address.size) return;
  event.preventDefault();
  document.getElementById(link.hash.slice(1)).scrollIntoView();
});
