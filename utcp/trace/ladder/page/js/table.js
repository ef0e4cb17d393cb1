// The ladder as a table, for screen readers and for those who prefer it.

import { element, make } from "./dom.js";

export function fillTable(run, stateNames, pick) {
  const table = element("table");
  ["client", "server"].forEach((end, index) => {
    table.querySelector(`thead .${end}`).textContent = run.names[index];
  });
  const state = (end) => (end.state === null ? "–" : stateNames[end.state]);
  table.tBodies[0].replaceChildren(
    ...run.rungs.map((rung) =>
      make("tr", { click: () => pick(rung.index) },
        make("td", {}, String(rung.index + 1)),
        make("td", {}, rung.clock),
        make("th", { scope: "row" }, rung.kind === "note" ? rung.note : describe(rung)),
        make("td", {}, state(rung.client)),
        make("td", {}, state(rung.server)),
      ),
    ),
  );
}

function describe(rung) {
  const numbers = rung.arrow
    ? ` seq=${rung.arrow.seq}${rung.arrow.ack === null ? "" : ` ack=${rung.arrow.ack}`}${rung.arrow.length ? ` len=${rung.arrow.length}` : ""}`
    : "";
  return make("span", {}, make("b", {}, rung.heading), numbers);
}

export function markRow(index) {
  for (const [number, row] of [...element("table").tBodies[0].rows].entries()) {
    if (number === index) row.setAttribute("aria-current", "step");
    else row.removeAttribute("aria-current");
  }
}

export const presentRow = () => element("table").querySelector("[aria-current]")?.getBoundingClientRect();
