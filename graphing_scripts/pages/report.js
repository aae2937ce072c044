"use strict";
// Tables of class "sortable" are sorted by a click on a column head: numbers in descending order first, a second click
// reverses the order. Cells without a value stay at the end.
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
// One player at a time: starting a player pauses the last one and, within a song, continues at the same time.
let playing = null;
document.addEventListener("play", (event) => {
  const song = event.target.closest(".listen");
  if (playing && playing !== event.target) {
    playing.pause();
    if (playing.closest(".listen") === song && !event.target.placed) event.target.currentTime = playing.currentTime;
  }
  event.target.placed = false;
  playing = event.target;
}, true);
// A cursor moves over the spectrogram of the sound that is playing; a click on a spectrogram plays from that time.
for (const figure of document.querySelectorAll(".clips figure")) {
  const audio = figure.querySelector("audio");
  const spectrum = figure.querySelector(".spectrum");
  const line = spectrum.querySelector("i");
  const follow = () => {
    line.style.left = `${100 * audio.currentTime / (audio.duration || 1)}%`;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => { figure.classList.add("playing"); follow(); });
  audio.addEventListener("seeked", () => { figure.classList.add("playing"); follow(); });
  spectrum.addEventListener("click", (event) => {
    const box = spectrum.getBoundingClientRect();
    audio.currentTime = (event.clientX - box.left) / box.width * (audio.duration || 0);
    audio.placed = true;
    if (audio.paused) audio.play();
  });
}
// Collapsed parts cannot be expanded on paper, so they are before printing.
addEventListener("beforeprint", () => {
  for (const item of document.querySelectorAll("details.paper")) item.open = true;
});
