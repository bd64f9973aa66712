// Two marked lines of the table, side by side: settings, learning curves, changed utterances.
const MAX_CHANGED = 50; // utterances
const { textContent, dataset: unitNames } = document.getElementById("data"); // unitNames.rate: CER or PER
const data = JSON.parse(textContent);
for (const { curves } of data.runs) if (curves) curves.updates = data.updates[curves.updates];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, text] of Object.entries(attributes)) made.setAttribute(key, text);
  made.append(...children);
  return made;
}

function tableOf(headings, rows, caption) {
  const head = element("tr", {}, ...headings.map((text) => element("th", { scope: "col" }, element("bdi", {}, text))));
  const body = rows.map(([first, ...others]) => element("tr", {},
    element("th", { scope: "row" }, first), ...others.map((each) => element("td", {}, each))));
  const table = element("table", {}, element("caption", { class: "hidden" }, caption),
    element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
}

function drawCurves(pair, key, title) {
  const [width, height, left, bottom] = [460, 240, 44, 24];
  const drawn = pair.filter((run) => run.curves);
  const values = drawn.flatMap((run) => run.curves[key]).filter((each) => each !== null).sort((a, b) => a - b);
  const most = values[Math.floor(0.95 * (values.length - 1))] * 1.1 || 1; // the first losses leave the figure
  const top = key === "cer" && values.at(-1) <= 1 ? Math.min(most, 1) : most;
  const end = Math.max(...drawn.map((run) => run.curves.updates.at(-1)), 1);
  const svg = (name, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [one, other] of Object.entries(attributes)) made.setAttribute(one, other);
    made.textContent = text;
    return made;
  };
  const x = (updates) => left + (updates / end) * (width - left - 8);
  const y = (each) => 20 + (1 - Math.min(each / top, 1)) * (height - bottom - 20);
  const shown = (each) => key === "cer" ? `${Math.round(100 * each)} %` : each.toFixed(1);
  const last = drawn.map((run) => `${run.name}: ${shown(run.curves[key].at(-1) ?? NaN)}`).join("; ");
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}; at the end ${last}` });
  picture.append(svg("text", { x: left, y: 12 }, title));
  for (const tick of [0, top / 2, top]) {
    picture.append(svg("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick), class: "grid" }));
    picture.append(svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, shown(tick)));
  }
  picture.append(svg("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, `${end} updates`));
  pair.forEach((run, index) => {
    if (!run.curves) return;
    const points = run.curves[key].map((each, at) => each === null ? "" : `${x(run.curves.updates[at]).toFixed(1)},${y(each).toFixed(1)}`);
    picture.append(svg("polyline", { points: points.filter(Boolean).join(" "), class: `curve-${index}` }));
  });
  return picture;
}

function testDifferentFolds(a, b) {
  if (!a.fold || !b.fold) return false;
  return a.fold[0] !== b.fold[0] && a.fold[1] === b.fold[1];
}

function changedUtterances(a, b) {
  if (testDifferentFolds(a, b)) {
    return element("p", {}, `These two runs have no test utterance in common: cross-validation tests each run on the speakers of one fold, here fold ${a.fold[0]} and fold ${b.fold[0]} of ${a.fold[1]} (counted from 0).`);
  }
  if (!a.hypotheses || !b.hypotheses) {
    return element("p", { class: "note" }, "The hypotheses of these runs are not both in this page; hypotheses.csv in the folder of each run has them.");
  }
  const changed = data.utterances.map(([name, reference], index) => {
    const [one, other] = [a, b].map((run) => run.hypotheses[index] || [reference, 0]);
    return { name, reference, one, other };
  }).filter((each) => each.one[0] !== each.other[0]);
  changed.sort((p, q) => Math.abs(q.one[1] - q.other[1]) - Math.abs(p.one[1] - p.other[1]));
  const text = ([hypothesis, errors]) => element("span", {}, element("bdi", { class: "hypothesis" }, hypothesis || "(nothing)"), element("small", {}, `${errors} wrong`));
  const rows = changed.slice(0, MAX_CHANGED).map((each) =>
    [element("span", {}, element("bdi", { class: "hypothesis" }, each.reference), element("small", {}, each.name)), text(each.one), text(each.other)]);
  const title = `${changed.length} of ${data.utterances.length} test utterances changed`;
  return element("div", {}, element("h4", {}, changed.length > MAX_CHANGED ? `${title}; the ${MAX_CHANGED} with the largest change in errors` : title),
    ...(rows.length ? [tableOf(["Reference", a.name, b.name], rows, title)] : []));
}

function settingsTable(a, b) {
  const indices = [a, b].map((run) => data.runs.indexOf(run));
  const rows = Object.entries(data.settings)
    .map(([key, values]) => [key, ...indices.map((index) => values[index])])
    .filter(([, one, other]) => one !== other);
  if (!rows.length) return element("p", {}, "All settings are equal.");
  return tableOf(["Setting", a.name, b.name], rows, "Settings that differ");
}

const panel = document.querySelector(".compare");
const marked = [];

function compare() {
  panel.hidden = marked.length < 2;
  if (panel.hidden) return;
  const [a, b] = marked.map((box) => data.runs[box.dataset.index]);
  const legend = element("p", {}, ...[a, b].flatMap((run, index) =>
    [element("span", { class: `key curve-${index}` }), element("bdi", {}, ` ${run.name}  `)]));
  panel.replaceChildren(element("h3", {}, "Two lines compared"), legend,
    element("h4", {}, "Settings that differ"), settingsTable(a, b),
    element("h4", {}, "Learning curves, dev"),
    element("div", { class: "pair" }, drawCurves([a, b], "loss", `Loss, nats per ${unitNames.unit}`), drawCurves([a, b], "cer", unitNames.rate)),
    changedUtterances(a, b),
    element("p", { class: "note" }, "A line of an arm stands for its first seed here; unfold the arm to compare other seeds. The utterances speak of these two networks."));
}

function mark(event) {
  const box = event.target;
  if (!box.checked) marked.splice(marked.indexOf(box), 1);
  else marked.push(box);
  if (marked.length > 2) marked.shift().checked = false;
  compare();
}

// The order of data.runs: the first run of each arm, then its further runs.
const arms = [...document.querySelectorAll(".runs .arm")];
const seedRows = [...document.querySelectorAll(".runs .seed")];
const isFirst = (row) => row.previousElementSibling.classList.contains("arm");
const others = seedRows.filter((row) => !isFirst(row));
function addMark(row, index) {
  const name = data.runs[index].name;
  const box = element("input", { type: "checkbox", class: "mark", "data-index": index, "aria-label": `Compare ${name}` });
  box.addEventListener("change", mark);
  row.cells[0].prepend(box);
}
arms.forEach(addMark);
others.forEach((row, index) => addMark(row, arms.length + index));
