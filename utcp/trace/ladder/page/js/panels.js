// The panels beside or below the ladder, of which one is shown, and the sheet of small screens.

import { element } from "./dom.js";

const SMALL = matchMedia("(max-width: 1099px)");
const ALWAYS = ["step", "ends"]; // shown beside the others on a wide screen

export class Panels {
  constructor() {
    this.tabs = [...element("tabs").children];
    this.shown = "step";
    for (const tab of this.tabs) tab.addEventListener("click", () => this.show(panelOf(tab)));
    element("tabs").addEventListener("keydown", (event) => this.key(event));
    element("more").addEventListener("click", () => this.open(!this.isOpen()));
    SMALL.addEventListener("change", () => this.arrange());
    this.show(SMALL.matches ? "step" : "about", false);
  }

  isOpen() {
    return element("sheet").classList.contains("open");
  }

  open(wanted) {
    element("sheet").classList.toggle("open", wanted);
    element("more").setAttribute("aria-expanded", wanted);
  }

  /** Show a panel, and with `open`, open the sheet of a small screen. */
  show(name, open = true) {
    this.shown = name;
    if (open && SMALL.matches) this.open(true);
    this.arrange();
  }

  arrange() {
    const plain = document.body.classList.contains("plain");
    if (!SMALL.matches && ALWAYS.includes(this.shown)) this.shown = "about";
    if (plain && !ALWAYS.includes(this.shown)) this.shown = "step";
    for (const tab of this.tabs) {
      const chosen = panelOf(tab) === this.shown;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      element(panelOf(tab)).hidden = !chosen && (SMALL.matches || !ALWAYS.includes(panelOf(tab)));
    }
  }

  key(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const visible = this.tabs.filter((tab) => tab.getClientRects().length);
    const at = visible.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
    const tab = visible[(at + move + visible.length) % visible.length];
    this.show(panelOf(tab));
    tab.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

const panelOf = (tab) => tab.getAttribute("aria-controls");
