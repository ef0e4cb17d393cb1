// One end: its state in the diagram, its variables before and after, its timers.

import { element, make } from "./dom.js";
import { say } from "./texts.js";

const CLOSED = 0;

export class EndView {
  constructor(name) {
    this.name = name;
    this.box = element(name);
  }

  /** Show a new run. */
  draw(run, catalogue) {
    this.run = run;
    this.states = catalogue.states;
    this.box.querySelector("h2").textContent = run.names[this.name === "client" ? 0 : 1];
    const host = this.box.querySelector(".diagram");
    host.innerHTML = catalogue.diagram;
    this.diagram = host.querySelector("svg");
    this.diagram.setAttribute("aria-label", say("diagram"));
  }

  /** Show the end as it is at a rung. */
  show(index) {
    const now = this.run.rungs[index][this.name];
    const changed = now.before !== null && now.state !== null && now.before !== now.state;
    const state = this.box.querySelector(".state");
    state.className = now.state === null ? "state" : `state state-${now.state}`;
    state.replaceChildren(
      changed ? make("span", { class: "from" }, `${this.states[now.before]} → `) : "",
      now.state === null ? say("unknown") : this.states[now.state],
    );
    this.showPath(index, now);
    this.showVariables(now);
    this.box.querySelector(".timers").replaceChildren(
      ...now.timers.map((timer) =>
        make("li", { title: timer.meaning },
          make("b", {}, timer.title), " ",
          make("span", {}, say("fires", { left: seconds(timer.left), at: seconds(timer.fires_at) })),
        ),
      ),
    );
  }

  showPath(index, now) {
    this.diagram.querySelectorAll(".visited, .here, .taken").forEach((one) => one.classList.remove("visited", "here", "taken"));
    const { states, edges, moved } = this.path(index);
    for (const edge of edges) this.diagram.querySelector(`.edge-${edge}`)?.classList.add("visited");
    if (now.edge) this.diagram.querySelector(`.edge-${now.edge}`)?.classList.add("taken");
    for (const state of states) this.node(state, state !== CLOSED || index < 0).classList.add("visited");
    if (now.state !== null) this.node(now.state, !moved).classList.add("here");
  }

  /** Return the node of a state. CLOSED has two, for the beginning and the end of a connection. */
  node(state, first) {
    const nodes = this.diagram.querySelectorAll(`.node-${state}`);
    return nodes[first ? 0 : nodes.length - 1];
  }

  /** Return the states and edges of the connection up to a rung. A new connection begins a new path. */
  path(index) {
    let states = new Set();
    let edges = new Set();
    let moved = false;
    for (const rung of this.run.rungs.slice(0, index + 1)) {
      const end = rung[this.name];
      if (end.state === null) continue;
      const [from] = end.edge?.split("-").map(Number) ?? [];
      if (from === CLOSED || (from === undefined && moved && end.before === CLOSED && end.state !== CLOSED)) {
        states = new Set();
        edges = new Set();
        moved = false;
      }
      if (end.edge) edges.add(end.edge);
      if (end.state !== CLOSED) moved = true;
      if (end.state !== CLOSED) states.add(end.state);
    }
    return { states, edges, moved };
  }

  showVariables(now) {
    const table = this.box.querySelector(".variables");
    table.classList.toggle("old", !now.touched);
    const rows = now.variables.map(({ name, before, after, changed }) =>
      make("tr", { class: changed ? "changed" : null },
        make("th", { scope: "row" }, name),
        make("td", {}, changed ? `${before || "–"} →` : ""),
        make("td", {}, after || "–"),
      ),
    );
    table.replaceChildren(make("caption", { class: "unseen" }, say("variables")), make("tbody", {}, ...rows));
  }
}

/** Return a time with at most three decimals. */
export const seconds = (value) => `${Number(value.toFixed(3))}\u00a0s`;
