// The table of arms: sort, filter, choose columns, unfold seeds.
const SHOWN_LINES = 50; // with unfolded seeds; the others are shown on request

function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? cell.textContent.trim();
  return text === "" || isNaN(text) ? text : Number(text);
}

function order(a, b) {
  if (a === "" || b === "") return (a === "") - (b === ""); // unknown values come last
  return a < b ? -1 : a > b ? 1 : 0;
}

class RunTable {
  constructor(table) {
    this.table = table;
    this.body = table.tBodies[0];
    this.headings = [...table.tHead.rows[0].cells];
    this.lines = []; // one per arm: its row, the rows of its seeds
    for (const row of this.body.rows) {
      if (row.classList.contains("arm")) this.lines.push({ row, seeds: [], text: row.textContent.toLowerCase() });
      else this.lines.at(-1).seeds.push(row);
    }
    this.limit = SHOWN_LINES;
    this.filter = "";
    this.lines.forEach((line, index) => this.addFold(line, index));
    this.headings.forEach((heading) => this.addSort(heading));
    this.headings[0].setAttribute("aria-sort", "ascending");
    this.more = document.createElement("button");
    this.more.className = "more";
    this.more.type = "button";
    this.more.addEventListener("click", () => { this.limit = Infinity; this.show(); });
    table.closest(".scroll").after(this.more);
    this.addTools(table.closest("section").querySelector(".tools"));
    this.show();
  }

  addFold(line, index) {
    if (!line.seeds.length) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-label", `Seeds of ${line.row.querySelector(".label").textContent}`);
    line.seeds.forEach((row, seed) => { row.id = `seed-${index}-${seed}`; row.hidden = true; });
    button.setAttribute("aria-controls", line.seeds.map((row) => row.id).join(" "));
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", open);
      for (const row of line.seeds) row.hidden = !open;
    });
    line.row.cells[0].prepend(button);
  }

  addSort(heading) {
    if (heading.classList.contains("bar")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => this.sort(heading));
    heading.append(button);
  }

  addTools(tools) {
    tools.hidden = false;
    this.count = tools.querySelector(".count");
    tools.querySelector(".filter").addEventListener("input", (event) => {
      this.filter = event.target.value.toLowerCase();
      this.show();
    });
    const style = document.createElement("style");
    document.head.append(style);
    const boxes = this.headings.map((heading, index) => {
      const name = heading.title || heading.textContent.trim();
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = getComputedStyle(heading).display !== "none";
      label.append(box, ` ${name}`);
      if (index) tools.querySelector(".choices").append(label);
      return box;
    });
    this.table.classList.remove("brief");
    const apply = () => {
      style.textContent = boxes.map((box, index) => box.checked ? "" :
        `.runs tr > :nth-child(${index + 1}) { display: none; }`).join("\n");
    };
    for (const box of boxes) box.addEventListener("change", apply);
    apply();
  }

  // Return which lines a word keeps: those that hold it, or those of a condition such as hidden>128 or cer<10 on the
  // numbers as they are shown.
  condition(word) {
    const [, name, sign, limit] = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/) ?? [];
    const key = (heading) => (heading.title || heading.textContent).toLowerCase().replace(/\s+/g, "_");
    const column = name ? this.headings.findIndex((heading) => key(heading).includes(name) && !heading.classList.contains("bar")) : -1;
    if (column < 0) return (line) => line.text.includes(word);
    const bound = parseFloat(limit);
    return (line) => {
      const shown = (line.row.cells[column].firstChild?.textContent ?? "").replace(/[\s\u202f]/g, "").replace("\u2212", "-");
      const value = parseFloat(shown);
      if (isNaN(value) || isNaN(bound)) return sign === "=" && shown.toLowerCase() === limit;
      return { "<": value < bound, ">": value > bound, "<=": value <= bound, ">=": value >= bound, "=": value === bound }[sign];
    };
  }

  sort(heading) {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of this.headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const column = heading.cellIndex;
    const keyed = this.lines.map((line) => [value(line.row, column), line]);
    keyed.sort(([a], [b]) => ascending || a === "" || b === "" ? order(a, b) : order(b, a));
    this.lines = keyed.map(([, line]) => line);
    this.show();
  }

  show() {
    const conditions = this.filter.split(/\s+/).filter(Boolean).map((word) => this.condition(word));
    const kept = new Set(), rows = [];
    let found = 0, shown = 0, away = 0;
    for (const line of this.lines) {
      if (!conditions.every((keeps) => keeps(line))) continue;
      found += 1;
      kept.add(line.row.dataset.run);
      if (shown >= this.limit) away += 1;
      else {
        shown += 1 + line.seeds.filter((row) => !row.hidden).length;
        rows.push(line.row, ...line.seeds);
      }
    }
    this.body.replaceChildren(...rows); // the others leave the page: a layout takes time for each row
    keepOnly(found < this.lines.length ? kept : null);
    this.more.hidden = !away;
    this.more.textContent = `Show all ${found}`;
    this.count.textContent = found < this.lines.length ? `${found} of ${this.lines.length}` : "";
  }
}

for (const table of document.querySelectorAll(".runs")) new RunTable(table);
