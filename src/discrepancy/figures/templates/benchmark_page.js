"use strict";
// What a click does on the page: sort the table, choose the heat map's metric, open a category.
(() => {
  const collator = new Intl.Collator(undefined, { numeric: true });

  // Rows without a value come last, whichever way the others go; equal ones keep their order.
  function order(column, numeric, sign) {
    const value = (row) => {
      const cell = row.cells[column];
      if (!numeric) return cell.textContent.trim();
      return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    };
    return (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (numeric ? a - b : collator.compare(a, b));
    };
  }

  function sort(table, head) {
    const numeric = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const first = numeric ? "descending" : "ascending"; // the highest number is what one looks for
    const next = before === null ? first : before === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", next);
    const compare = order(head.cellIndex, numeric, next === "ascending" ? 1 : -1);
    for (const body of table.tBodies) body.append(...[...body.rows].sort(compare)); // means stay below
  }

  for (const table of document.querySelectorAll("table.results")) {
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, head));
    }
  }

  const metric = document.getElementById("metric");
  function choose() {
    for (const block of document.querySelectorAll(".metric")) block.hidden = block.dataset.metric !== metric.value;
  }
  if (metric) {
    metric.closest(".choice").hidden = false;
    metric.addEventListener("change", choose);
    choose();
  }

  // With the script one category is open at first; without it all are.
  const parts = [...document.querySelectorAll("details.part")];
  parts.slice(1).forEach((part) => { part.open = false; });
  function open(hash) {
    const part = parts.find((one) => `#${one.id}` === hash);
    if (part) part.open = true;
    return part;
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) open(link.getAttribute("href"));
    const cell = event.target.closest("td[data-link]");
    if (!cell) return;
    if (location.hash !== cell.dataset.link) location.hash = cell.dataset.link;
    else open(location.hash)?.scrollIntoView(); // the address stays, so no event comes
  });
  window.addEventListener("hashchange", () => {
    open(location.hash);
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  });
  open(location.hash);
})();
