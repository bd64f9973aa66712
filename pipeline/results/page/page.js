// The page works without its scripts. This one highlights the lines of one arm in the figures, and
// fades those that the table's filter leaves out.
"use strict";
const DRAWN_LINE = 'figure g[id*="-of-run-"]';
const drawn = new Map(); // number of an arm -> its lines in all figures
for (const line of document.querySelectorAll(DRAWN_LINE)) {
  const number = armOfLine(line);
  if (!drawn.has(number)) drawn.set(number, []);
  drawn.get(number).push(line);
}

function armOfLine(line) {
  return line.id.match(/-of-run-(\d+)$/)[1];
}

function highlight(number) {
  for (const line of document.querySelectorAll("figure .highlighted")) line.classList.remove("highlighted");
  for (const line of drawn.get(number) ?? []) line.classList.add("highlighted");
  document.body.classList.toggle("highlighting", drawn.has(number));
}

function keepOnly(numbers) { // null: all
  for (const [number, lines] of drawn) {
    for (const line of lines) line.classList.toggle("faded", numbers !== null && !numbers.has(number));
  }
}

function armOf(element) {
  const marked = element.closest?.("[data-run]");
  if (marked) return marked.dataset.run;
  const line = element.closest?.(DRAWN_LINE);
  return line && armOfLine(line);
}

// Two listeners on the document, because a page may have thousands of elements of a run.
document.addEventListener("mouseover", (event) => {
  const number = armOf(event.target);
  if (number) highlight(number);
});
document.addEventListener("mouseout", (event) => {
  if (armOf(event.target)) highlight(null);
});

// The name of an arm appears where the pointer rests on its line.
for (const [number, lines] of drawn) {
  const name = document.querySelector(`.arm[data-run="${number}"] .label`)?.textContent;
  for (const line of name ? lines : []) {
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = name;
    line.prepend(title);
  }
}
