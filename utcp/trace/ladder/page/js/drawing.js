// A drawn ladder: the present rung, the edited ones, the first difference, and clicks.

import { make } from "./dom.js";

const FLIGHT = 650; // milliseconds that a segment's dot takes

export class Drawing {
  /** `pick` is called with the index of a rung that is clicked. */
  constructor(host, pick) {
    this.host = host;
    this.run = null;
    host.addEventListener("click", (event) => {
      const group = event.target.closest(".rung");
      if (group) pick(Number(group.dataset.index));
    });
  }

  /** Draw a run; `difference` is the index and the text of the first rung that differs from another run, or null. */
  draw(run, difference, label) {
    this.run = run;
    this.difference = difference;
    this.label = label;
    this.form = null;
    this.resize();
  }

  /** Choose the drawing that is legible in the host's width. */
  resize(crowded = false) {
    if (!this.run) return;
    if (!this.host.clientWidth) {
      this.form = null; // it is hidden, and has no sizes
      return;
    }
    const { wide, narrow } = this.run.svg;
    const natural = Number(/ width="(\d+)"/.exec(wide)?.[1] ?? 0);
    const form = crowded || this.host.clientWidth < natural * 0.8 ? "narrow" : "wide";
    if (form === this.form) return;
    this.form = form;
    this.host.innerHTML = form === "narrow" ? narrow : wide;
    this.prepare();
    this.mark(this.present ?? 0, false);
  }

  prepare() {
    const svg = this.host.querySelector("svg");
    this.page = svg.querySelector(".page");
    svg.removeAttribute("aria-labelledby");
    svg.querySelectorAll(":scope > title, :scope > desc").forEach((one) => one.remove()); // a title is a tooltip, too
    svg.setAttribute("aria-label", this.label);
    this.groups = this.run.rungs.map((_, index) => [...svg.querySelectorAll(`.rung-${index}`)]);
    this.groups.forEach((parts, index) => {
      for (const part of parts) part.dataset.index = index;
      const arrow = parts[0]?.querySelector(".arrow");
      if (arrow) parts[0].prepend(make("svg:path", { class: "hit", d: arrow.getAttribute("d") }));
    });
    for (const rung of this.run.rungs) if (rung.edits?.length || rung.injected) this.tag(rung);
    this.line = make("svg:rect", { class: "mark", x: 0, rx: 4, width: this.page.getAttribute("width"), height: 0 });
    this.page.after(this.line);
    if (this.difference && this.difference.index !== null) this.markDifference(this.difference);
  }

  /** Return the least and the greatest y of a rung, or null if nothing of it is drawn. */
  extent(index) {
    const boxes = (this.groups[index] ?? []).map((group) => group.getBBox()).filter((box) => box.height || box.width);
    if (!boxes.length) return null;
    return [Math.min(...boxes.map((box) => box.y)), Math.max(...boxes.map((box) => box.y + box.height))];
  }

  ends(index) {
    const path = this.groups[index]?.[0]?.querySelector(".arrow")?.getAttribute("d");
    const numbers = path?.match(/-?[\d.]+/g)?.map(Number);
    return numbers?.length === 4 ? numbers : null;
  }

  /** Mark an edited segment at its tail. */
  tag(rung) {
    const ends = this.ends(rung.index);
    if (!ends) return;
    const [x, y] = [ends[0] + (ends[0] < ends[2] ? -5 : 5), ends[1]]; // the middle of the sender's bar
    this.groups[rung.index][0].append(
      make("svg:circle", { class: "tagged", cx: x, cy: y, r: 7 }),
      make("svg:text", { class: "tag", x, y: y + 3.7 }, rung.injected ? "+" : "!"),
    );
  }

  markDifference({ index, text }) {
    const extent = this.extent(index);
    if (!extent) return;
    const width = Number(this.page.getAttribute("width"));
    const y = extent[0] - 5;
    this.page.parentNode.append(
      make("svg:path", { class: "first", d: `M6 ${y}H${width - 6}` }),
    );
    const label = make("svg:text", { class: "first-text", y: y + 4 }, text);
    this.page.parentNode.append(label);
    const half = label.getBBox().width / 2 + 7;
    label.setAttribute("x", width - half - 4);
    label.before(make("svg:rect", { class: "first-box", x: width - 2 * half - 4, y: y - 9, width: 2 * half, height: 18, rx: 9 }));
  }

  /** Show a rung as the present one; with `fly`, its segment moves. */
  mark(index, fly) {
    this.present = index;
    if (!this.form) return;
    this.groups.forEach((parts, one) => {
      for (const part of parts) {
        part.classList.toggle("past", one < index);
        part.classList.toggle("now", one === index);
      }
    });
    const extent = this.extent(index);
    this.line.setAttribute("height", extent ? extent[1] - extent[0] + 10 : 0);
    if (!extent) return;
    this.line.setAttribute("y", extent[0] - 5);
    if (fly) this.fly(index);
  }

  /** Return the present rung's position on the screen, unless the drawing is hidden. */
  position() {
    const seen = this.line?.getBoundingClientRect();
    return seen?.width ? seen : undefined;
  }

  fly(index) {
    const ends = this.ends(index);
    if (!ends || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.dot?.remove();
    const [x1, y1, x2, y2] = ends;
    const dot = make("svg:circle", { class: "dot", cx: 0, cy: 0, r: 5 });
    this.dot = dot;
    this.groups[index][0].append(dot);
    const moved = dot.animate(
      [{ transform: `translate(${x1}px, ${y1}px)` }, { transform: `translate(${x2}px, ${y2}px)` }],
      { duration: FLIGHT, easing: "ease-in-out" },
    );
    moved.onfinish = () => dot.remove();
  }
}
