// ---- Everything is drawn, then follows the filters.

document.body.append(tooltip);
if (report.axes.length) drawFilters(document.getElementById("filters"));
drawTable(document.getElementById("run-table"));
select();
performance.mark("table drawn");
listeners.push(updateCharts);
drawCharts();
followWidth();
