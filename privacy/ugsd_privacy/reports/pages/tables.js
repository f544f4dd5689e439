"use strict";
// Sorts and filters tables. The page is complete without this script.
const spoken = document.createElement("p");
spoken.className = "vh";
spoken.setAttribute("role", "status");
document.querySelector("main").append(spoken);

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], rows = [...body.rows];
  if (rows.length < 2) continue;
  const key = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const numbers = [a, b].map(Number);
    return a !== "" && b !== "" && numbers.every(Number.isFinite)
      ? numbers[0] - numbers[1] : a.localeCompare(b);
  };
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.ariaSort === "ascending" ? "descending" : "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      rows.sort((a, b) => sign * compare(key(a, head.cellIndex), key(b, head.cellIndex)));
      body.append(...rows);
      spoken.textContent = `Sorted by ${button.textContent.trim()}, ${direction}`;
    });
  }
  if (!("filter" in table.dataset)) continue;
  const bar = document.createElement("p"), label = document.createElement("label");
  const input = document.createElement("input"), count = document.createElement("output");
  bar.className = "filter";
  input.type = "search";
  label.append("Show rows with ", input);
  count.textContent = `${rows.length} of ${rows.length}`;
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    const found = rows.filter(row => !row.hidden).length;
    count.textContent = found ? `${found} of ${rows.length}` : `No row has “${input.value.trim()}”`;
  });
  bar.append(label, count);
  table.closest(".scroll").before(bar);
}

// A region that does not overflow needs no keyboard scrolling.
const measure = () => {
  for (const region of document.querySelectorAll(".scroll")) {
    if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
    else region.removeAttribute("tabindex");
  }
};
addEventListener("resize", measure);
new ResizeObserver(measure).observe(document.querySelector("main"));

const closed = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...closed()];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
