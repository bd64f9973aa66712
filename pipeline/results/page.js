// The page reads without this: it only points out a run's line, and sorts a table.
"use strict";
const figures = document.querySelector(".figures");

function point(number) {
  if (!figures) return;
  for (const line of figures.querySelectorAll(".pointed")) line.classList.remove("pointed");
  const lines = number ? figures.querySelectorAll(`[id$="-of-run-${number}"]`) : [];
  for (const line of lines) line.classList.add("pointed");
  figures.classList.toggle("pointing", lines.length > 0);
}

for (const named of document.querySelectorAll("[data-run]")) {
  named.addEventListener("mouseenter", () => point(named.dataset.run));
  named.addEventListener("mouseleave", () => point(null));
}

function value(row, column) {
  const text = row.cells[column].dataset.sort;
  return text === "" || isNaN(text) ? text : Number(text);
}

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is not known goes last
  return a < b ? -1 : a > b ? 1 : 0;
}

function sort(heading) {
  const table = heading.closest("table");
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const known = (row) => value(row, heading.cellIndex) !== "";
  const rows = [...table.tBodies[0].rows].sort((one, two) => {
    const order = compare(value(one, heading.cellIndex), value(two, heading.cellIndex));
    return ascending || !known(one) || !known(two) ? order : -order;
  });
  table.tBodies[0].append(...rows);
}

for (const heading of document.querySelectorAll(".sortable thead th:not(.bar)")) {
  const button = document.createElement("button");
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sort(heading));
  heading.append(button);
}
