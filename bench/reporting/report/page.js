"use strict";
// Sorts the rows of a table by the column whose heading was pressed, hides what a filter does not name, and opens
// what a link leads to. Text of the page is only ever read as text.
const number = (text) => {
  const found = parseFloat(text.replace(/,(?=\d{3})/g, ""));
  return Number.isNaN(found) ? null : found;
};
const compare = (a, b, falling) => {
  const x = number(a), y = number(b);
  if (x === null && y === null) { return falling ? b.localeCompare(a) : a.localeCompare(b); }
  if (x === null || y === null) { return x === null ? 1 : -1; }
  return falling ? y - x : x - y;
};
const isText = (rows, at) => rows.every((row) => number(row.cells[at].textContent) === null);
const sort = (heading) => {
  const table = heading.closest("table"), body = table.tBodies[0], at = heading.cellIndex;
  const before = heading.getAttribute("aria-sort");
  let falling = before === null ? heading.dataset.order === "falling" : before === "ascending";
  const rows = Array.from(body.rows);
  if (before === null && isText(rows, at)) { falling = false; }
  const named = at === 0;
  rows.sort((a, b) => {
    const x = a.cells[at].textContent, y = b.cells[at].textContent;
    return named ? (falling ? y.localeCompare(x) : x.localeCompare(y)) : compare(x, y, falling);
  });
  table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...rows);
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("thead button");
  if (button) { sort(button.closest("th")); }
});

const form = document.getElementById("filter"), words = document.getElementById("words");
const told = document.getElementById("told"), found = document.getElementById("found");
const filter = () => {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  document.querySelectorAll(".board").forEach((board) => {
    const place = board.dataset.words.toLowerCase();
    let here = 0;
    board.querySelectorAll(".told").forEach((grid) => {
      const asked = told.value === "" || told.value === grid.dataset.told;
      let left = 0;
      grid.querySelectorAll("tbody tr").forEach((row) => {
        const text = place + " " + row.cells[0].textContent.toLowerCase();
        row.hidden = !(asked && wanted.every((word) => text.includes(word)));
        left += row.hidden ? 0 : 1;
      });
      grid.hidden = left === 0;
      here += left;
    });
    board.hidden = here === 0;
    shown += here;
  });
  const none = wanted.length === 0 && told.value === "";
  found.textContent = none ? "" : shown === 1 ? "1 row" : shown + " rows";
};
form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
words.addEventListener("input", filter);
told.addEventListener("change", filter);

const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) { return; }
  if (target.closest(".board[hidden]")) { words.value = told.value = ""; filter(); }
  const closed = target.closest("details");
  if (closed) { closed.open = true; closed.scrollIntoView(); }
};
addEventListener("hashchange", open);
open();
