// What was changed, what this did, and the form that injects a segment.

import { element, icon, make } from "./dom.js";
import { decimal } from "./step.js";
import { say } from "./texts.js";

const OLD_DATA = "DATA,old"; // data from the first octet on
const FIELDS = ["seq", "ack", "length", "ts"];

export class ExperimentView {
  /** `change(removed, added)` changes the experiment; `go(index)` shows a rung. */
  constructor(change, go) {
    this.change = change;
    this.go = go;
    this.form = element("inject");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.inject();
    });
  }

  /** Build the form for the present language. */
  build(catalogue) {
    this.catalogue = catalogue;
    const kept = Object.fromEntries(new FormData(this.form));
    const select = (name, options) =>
      make("select", { name }, ...options.map(([value, title]) => make("option", { value }, title)));
    const kind = select("kind", catalogue.kinds.flatMap((one) =>
      one.name === "DATA" ? [[one.name, one.title], [OLD_DATA, say("old_data")]] : [[one.name, one.title]]));
    kind.addEventListener("change", () => this.offerFields());
    const from = select("from", [["client", say("client")], ["server", say("server")]]);
    from.addEventListener("change", () => this.offerNumbers());
    const number = (name, attributes) =>
      make("label", { class: `field ${name}` }, say(`field_${name}`), make("input", { name, type: "number", step: "1", ...attributes }));
    this.form.querySelector("fieldset").replaceChildren(
      make("legend", {}, say("inject_long")),
      make("div", { class: "form" },
        make("label", {}, say("field_from"), from),
        make("label", {}, say("field_kind"), kind),
        make("label", {}, say("field_at"), make("input", { name: "at", type: "number", step: "any", min: 0, required: true })),
        ...FIELDS.map((name) => number(name, name === "length" ? { min: 1, max: 1400 } : {})),
        make("button", { class: "primary" }, icon("inject"), make("span", {}, say("inject"))),
      ),
      make("p", { class: "hint" }),
    );
    for (const [name, value] of Object.entries(kept)) if (this.field(name)) this.field(name).value = value;
    this.offerFields();
  }

  /** Return a control of the form. One is called "length", as is a property of the form's own. */
  field(name) {
    return this.form.elements.namedItem(name);
  }

  kind() {
    const [name] = this.field("kind").value.split(",");
    return this.catalogue.kinds.find((one) => one.name === name);
  }

  offerFields() {
    const { fields, help } = this.kind();
    for (const name of FIELDS) {
      const input = this.field(name);
      input.closest("label").hidden = !fields.includes(name);
      input.value = "";
    }
    if (this.field("kind").value === OLD_DATA) this.field("seq").value = "1";
    this.form.querySelector(".hint").textContent = `${help} ${say("field_empty")}`;
    this.offerNumbers();
  }

  /** Show the numbers that a field left empty stands for. */
  offerNumbers() {
    if (!this.rung) return;
    const from = this.field("from").value;
    const value = (end, name) => this.rung[end].variables.find((one) => one.name === name)?.after ?? say("next");
    const defaults = {
      seq: this.kind().name === "SYN" ? "1000000" : value(from, "SND.NXT"),
      ack: value(from, "RCV.NXT"),
      length: "10",
      ts: say("now_ts"),
    };
    for (const name of FIELDS) this.field(name).placeholder = defaults[name];
  }

  inject() {
    const value = (name) => this.field(name).value;
    const fields = FIELDS.filter((name) => this.kind().fields.includes(name) && value(name) !== "");
    const values = fields.map((name) => `,${name}=${decimal(Number(value(name)))}`);
    this.change([], [`inject=${value("from")}@${decimal(Number(value("at")))}:${this.kind().name}${values.join("")}`]);
  }

  /** Offer the present step's time. */
  at(rung) {
    this.rung = rung;
    if (this.form.hidden) return; // nothing can be injected
    const time = Math.max(rung.arrow?.received ?? 0, rung.time);
    this.field("at").value = decimal(Math.ceil(time * 1000 - 1e-6) / 1000);
    this.offerNumbers();
  }

  /** Show what was changed in a run, and its effect. */
  draw({ run, first }, catalogue, possible) {
    this.catalogue = catalogue;
    this.form.hidden = !possible;
    element("ending").textContent = run.ending?.text ?? "";
    const goto = (text, index) =>
      index === null || index === undefined ? text : make("button", { class: "link", type: "button", click: () => this.go(index) }, text);
    element("difference").replaceChildren(
      ...(first ? [make("b", {}, `${say("first_difference")}: `), goto(first.text, first.now)] : []),
    );
    const remove = (part, name) =>
      possible
        ? make("button", { type: "button", title: say("remove"), "aria-label": say("remove_part", { name }), click: () => this.change([part], []) }, icon("lose"))
        : "";
    const told = run.edits.map(({ part, found, rung, text }) =>
      make("li", { class: found ? null : "missed" }, make("span", {}, goto(text, rung)), remove(part, text)),
    );
    const known = new Set(run.edits.map((one) => one.part));
    const others = run.parts.filter((part) => !known.has(part) && !part.startsWith("do=")).map((part) => {
      const name = this.settingText(part);
      return make("li", {}, make("span", {}, name), remove(part, name));
    });
    element("edits").replaceChildren(...told, ...others);
    element("no-edits").hidden = told.length + others.length > 0 || !possible;
    element("edits").previousElementSibling.hidden = !possible;
    element("checks").replaceChildren(
      ...(run.checks.length
        ? [make("p", {}, say("checks")), make("ul", {}, ...run.checks.map((text) => make("li", {}, text)))]
        : []),
    );
  }

  settingText(part) {
    const [name, value] = part.split("=");
    const [end, plain] = name.includes(".") ? name.split(".") : [null, name];
    const setting = this.catalogue.settings.find((one) => one.name === plain);
    const choice = setting?.choices.find((one) => one.value === value);
    const title = setting ? `${setting.title} = ${choice?.title ?? `${value}${setting.unit ? ` ${setting.unit}` : ""}`}` : part;
    return end ? `${say(end)}: ${title}` : title;
  }
}
