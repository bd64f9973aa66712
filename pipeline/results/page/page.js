// The page works without its scripts. This one highlights the lines of one arm in the figures.
"use strict";
const figures = document.querySelector(".figures");

function highlight(number) {
  if (!figures) return;
  for (const line of figures.querySelectorAll(".highlighted")) line.classList.remove("highlighted");
  const lines = number ? figures.querySelectorAll(`[id$="-of-run-${number}"]`) : [];
  for (const line of lines) line.classList.add("highlighted");
  figures.classList.toggle("highlighting", lines.length > 0);
}

// Two listeners on the document, because a page may have thousands of elements of a run.
document.addEventListener("mouseover", (event) => {
  const element = event.target.closest?.("[data-run]");
  if (element) highlight(element.dataset.run);
});
document.addEventListener("mouseout", (event) => {
  if (event.target.closest?.("[data-run]")) highlight(null);
});
