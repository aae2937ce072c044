"use strict";
// Tables of class "sortable" sort by a click on a head: numbers the highest first, a second click the other way round.
// Cells without a value stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numeric = [...table.tBodies[0].rows].some((row) => "value" in row.cells[column].dataset);
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [left, right] = [a.cells[column], b.cells[column]];
      if (!numeric) return sign * left.textContent.localeCompare(right.textContent, undefined, { numeric: true });
      if (!("value" in left.dataset)) return "value" in right.dataset ? 1 : 0;
      if (!("value" in right.dataset)) return -1;
      return sign * (Number(left.dataset.value) - Number(right.dataset.value));
    });
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    table.tBodies[0].append(...rows);
  }));
}
// One player at a time: starting one pauses the others and goes on where they were, to hear the same moment.
let playing = null;
document.addEventListener("play", (event) => {
  const group = event.target.closest(".clips");
  if (playing && playing !== event.target) {
    playing.pause();
    if (playing.closest(".clips") === group) event.target.currentTime = playing.currentTime;
  }
  playing = event.target;
}, true);
