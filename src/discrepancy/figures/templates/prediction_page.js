"use strict";
// Shows the photographs in the chosen order, a few hundred at a time: more are added as their end comes near.
(() => {
  const STEP = 120;
  const data = JSON.parse(document.getElementById("data").textContent);
  const list = document.getElementById("rows");
  const controls = document.querySelector(".controls");
  const shown = document.getElementById("shown");
  const collator = new Intl.Collator(undefined, { numeric: true });
  let rows = [];
  let done = 0;

  function element(name, properties, ...children) {
    const made = document.createElement(name);
    Object.assign(made, properties);
    made.append(...children);
    return made;
  }

  function picture(row) {
    const [width, height] = row.size;
    const space = "http://www.w3.org/2000/svg";
    const drawing = document.createElementNS(space, "svg");
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", `${row.file}: ${row.decision}`);
    const image = document.createElementNS(space, "image");
    image.setAttribute("href", `thumbnails/${row.address}`);
    image.setAttribute("width", width);
    image.setAttribute("height", height);
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", row.outline);
    drawing.append(image, line);
    return element("a", { href: `${PICTURES}/${row.address}`, target: "_blank" }, drawing);
  }

  function number(value, one, many) {
    return `${value.toLocaleString()} ${value === 1 ? one : many}`;
  }

  function readable(row) {
    const ratio = row.ratio === null ? "" : `, ${row.ratio.toPrecision(2)} times the threshold`;
    if (row.likely === null) return ratio;
    return `${ratio}; ${share(row.likely)} of good parts score so high`;
  }

  function share(part) {
    return part < 1e-4 ? "under 0.01 %" : `${(100 * part).toPrecision(2)} %`;
  }

  function item(row) {
    const words = element("div", { className: "words" }, element("span", { className: "name" }, row.file));
    if (row.size.length) {
      const regions = row.regions ? `, ${number(row.regions, "region", "regions")}, largest ${row.largest} px` : "";
      words.append(
        element("span", { className: row.decision }, row.decision),
        element("span", { className: "score" }, ` ${row.score.toPrecision(4)}`),
        element("span", { className: "quiet" }, readable(row)),
        element("span", { className: "quiet" }, regions),
      );
      return element("li", {}, picture(row), words);
    }
    words.append(element("span", { className: row.decision }, row.decision));
    return element("li", {}, element("div", { className: "none" }, row.reason), words);
  }

  function more() {
    list.append(...rows.slice(done, done + STEP).map(item));
    done = Math.min(done + STEP, rows.length);
  }

  function compare(order) {
    const [sign, column] = order.startsWith("-") ? [-1, order.slice(1)] : [1, order];
    return (one, other) => {
      const [a, b] = [one[column] ?? null, other[column] ?? null];
      if (a === null || b === null) return (a === null) - (b === null); // unreadable ones come last
      return sign * (typeof a === "string" ? collator.compare(a, b) : a - b);
    };
  }

  function choose() {
    const decision = controls.querySelector("[name=decision]:checked").value;
    const words = document.getElementById("search").value.toLowerCase();
    const order = document.getElementById("order").value;
    rows = data
      .filter((row) => (!decision || row.decision === decision) && row.file.toLowerCase().includes(words))
      .sort(compare(order));
    shown.textContent = `${rows.length.toLocaleString()} shown`;
    list.replaceChildren();
    done = 0;
    more();
  }

  document.getElementById("search").addEventListener("input", choose);
  controls.addEventListener("change", (event) => {
    if (event.target.id === "outlines") list.classList.toggle("outlines", event.target.checked);
    else choose();
  });
  new IntersectionObserver((seen) => {
    if (seen.some((one) => one.isIntersecting) && done < rows.length) {
      more();
      // An observer tells of changes only: look again, in case the end is still near.
      requestAnimationFrame(() => window.dispatchEvent(new Event("scroll")));
    }
  }, { rootMargin: "1500px" }).observe(document.getElementById("end"));
  window.addEventListener("scroll", () => {
    const end = document.getElementById("end").getBoundingClientRect();
    if (done < rows.length && end.top < window.innerHeight + 1500) more();
  }, { passive: true });
  choose();
})();
