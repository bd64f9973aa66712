// The page works without this script, which highlights the lines of one run and sorts the table.
"use strict";
const figures = document.querySelector(".figures");

function highlight(number) {
  if (!figures) return;
  for (const line of figures.querySelectorAll(".highlighted")) line.classList.remove("highlighted");
  const lines = number ? figures.querySelectorAll(`[id$="-of-run-${number}"]`) : [];
  for (const line of lines) line.classList.add("highlighted");
  figures.classList.toggle("highlighting", lines.length > 0);
}

for (const element of document.querySelectorAll("[data-run]")) {
  element.addEventListener("mouseenter", () => highlight(element.dataset.run));
  element.addEventListener("mouseleave", () => highlight(null));
}

function value(row, column) {
  const text = row.cells[column].dataset.sort;
  return text === "" || isNaN(text) ? text : Number(text);
}

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === ""); // unknown values come last
  return a < b ? -1 : a > b ? 1 : 0;
}

function sort(heading) {
  const table = heading.closest("table");
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const known = (row) => value(row, heading.cellIndex) !== "";
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const order = compare(value(a, heading.cellIndex), value(b, heading.cellIndex));
    return ascending || !known(a) || !known(b) ? order : -order;
  });
  table.tBodies[0].append(...rows);
}

for (const heading of document.querySelectorAll(".sortable thead th:not(.bar)")) {
  const button = document.createElement("button");
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sort(heading));
  heading.append(button);
}
