// The present step: what happens, who decided it, the segment's fields, and what can be done to the segment.

import { element, make, paragraphs } from "./dom.js";
import { say, withKey } from "./texts.js";

const EDITS = ["lose", "delay", "duplicate", "corrupt"];
const TIMED = ["delay", "duplicate"]; // with a number of seconds

export class StepView {
  /** `change` is called with the parts that an edit removes, and those that it adds. */
  constructor(change) {
    this.change = change;
    for (const name of EDITS) element(name).addEventListener("click", () => this.edit(name));
    for (const name of TIMED) {
      element(`${name}-seconds`).addEventListener("keydown", (event) => {
        if (event.key === "Enter") this.edit(name);
      });
    }
  }

  /** Write the names of the actions. */
  label(catalogue) {
    for (const { name, title, help } of catalogue.edits) {
      const button = element(name);
      if (!button) continue;
      button.querySelector("span").textContent = title;
      button.title = withKey(help, button);
    }
  }

  show(run, index) {
    const rung = run.rungs[index];
    this.rung = rung;
    element("heading").textContent = rung.heading;
    element("clock").textContent = rung.clock;
    element("said").replaceChildren(...paragraphs(rung.said));
    element("decision").replaceChildren(
      ...rung.decision.map(({ end, text, source }) =>
        make("div", { class: end },
          make("dt", {}, `${run.names[end === "client" ? 0 : 1]}: `),
          make("dd", {}, text, source ? make("span", { class: "source" }, ` ${source}`) : ""),
        ),
      ),
    );
    element("fields").replaceChildren(
      ...rung.fields.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
    );
    element("actions").hidden = run.origin === "capture" || !this.possible;
    for (const name of EDITS) {
      const button = element(name);
      button.disabled = rung.packet === null;
      button.setAttribute("aria-pressed", this.present(name) !== undefined);
    }
    for (const name of TIMED) element(`${name}-seconds`).disabled = rung.packet === null;
    element("choose").hidden = element("actions").hidden || rung.packet !== null;
  }

  /** Return the edit of this kind that the present segment already has. */
  present(name) {
    return this.rung.edits.find((part) => part.startsWith(`${name}=`));
  }

  /** Edit the present segment, or take the edit back. */
  edit(name) {
    if (!this.possible || this.rung?.packet == null) return;
    const present = this.present(name);
    if (present !== undefined) {
      this.change([present], []);
      return;
    }
    const field = element(`${name}-seconds`);
    if (field && !field.reportValidity()) return;
    const seconds = field?.value ? `:${decimal(Number(field.value))}` : "";
    this.change([], [`${name}=${this.rung.packet}${seconds}`]);
  }

  /** Return the text for a screen reader. */
  spoken(count) {
    const { index, heading, said } = this.rung;
    return `${say("step_of", { number: index + 1, count })}: ${heading}. ${said.join(" ")}`;
  }
}

/** Return a number as the engine reads it, without exponent. */
export const decimal = (value) => String(Number(value.toFixed(6)));
