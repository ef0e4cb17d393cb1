// The settings that matter in a scene, and the script of the scene "own".

import { element, icon, make } from "./dom.js";
import { decimal } from "./step.js";
import { say } from "./texts.js";

const FEW = 4; // settings shown at first, if the scene does not say how many

const SHARED = "latency"; // a property of the path

export class SettingsView {
  /** `change(removed, added)` changes the experiment; `open(address)` opens another. */
  constructor(change, open) {
    this.change = change;
    this.open = open;
    this.end = ""; // the end that the settings are for, with a dot; "": both
  }

  draw(run, catalogue, possible) {
    this.run = run;
    this.catalogue = catalogue;
    const scene = catalogue.scenes.find((one) => one.name === run.scene);
    element("controls").replaceChildren();
    element("script").replaceChildren();
    if (!possible || !scene) return;
    const settings = scene.settings.map((name) => catalogue.settings.find((one) => one.name === name)).filter(Boolean);
    if (settings.length) element("controls").append(this.chooser());
    const few = settings.slice(0, scene.few ?? FEW);
    const others = settings.slice(few.length);
    element("controls").append(make("div", { class: "controls" }, ...few.map((setting) => this.control(setting))));
    if (others.length) {
      const open = this.opened || others.some((setting) => this.part(setting));
      const more = make("details", { open }, make("summary", {}, say("more_settings")),
        make("div", { class: "controls" }, ...others.map((setting) => this.control(setting))));
      more.addEventListener("toggle", () => { this.opened = more.open; });
      element("controls").append(more);
    }
    if (!settings.length) element("controls").append(make("p", { class: "hint" }, say("no_settings")));
    if (run.scene === "own") this.drawScript();
    else if (scene.own) {
      element("controls").append(
        make("p", { class: "hint" },
          make("button", { type: "button", class: "link", click: () => this.open(scene.own) }, say("own_script"))),
      );
    }
  }

  /** Return the menu of the ends that the settings are for. */
  chooser() {
    const options = [["", say("both_ends")], ["client.", say("client")], ["server.", say("server")]];
    const menu = make("select", { id: "setting-end" }, ...options.map(([value, title]) =>
      make("option", { value, selected: value === this.end }, title)));
    menu.addEventListener("change", () => {
      this.end = menu.value;
      this.draw(this.run, this.catalogue, true);
      element("setting-end").focus();
    });
    return make("label", { class: "chooser" }, say("settings_of"), menu);
  }

  /** Return the part of the experiment that gives a setting for the chosen end. */
  part(setting, end = this.end) {
    return this.run.parts.find((one) => one.startsWith(`${end}${setting.name}=`));
  }

  control(setting) {
    const end = setting.name === SHARED ? "" : this.end;
    const part = this.part(setting, end);
    const common = (this.part(setting, "") ?? `=${setting.default}`).split("=")[1]; // that of both ends
    const value = part?.split("=")[1] ?? common;
    const id = `setting-${setting.name}`;
    const set = (wanted) => {
      const usual = end ? common : String(setting.default);
      this.change(part ? [part] : [], wanted === usual ? [] : [`${end}${setting.name}=${wanted}`]);
    };
    let input;
    if (setting.kind === "choice") {
      input = make("select", { id }, ...setting.choices.map((one) =>
        make("option", { value: one.value, selected: one.value === value }, one.title)));
      input.addEventListener("change", () => set(input.value));
    } else {
      input = make("input", { id, type: "number", min: setting.least, max: setting.most, step: setting.kind === "count" ? 1 : "any", value, required: true });
      input.addEventListener("change", () => {
        if (input.reportValidity()) set(decimal(Number(input.value)));
      });
    }
    return make("div", { class: part ? "setting changed" : "setting" },
      make("label", { for: id }, setting.title),
      make("span", { class: "control" }, input, setting.unit ? make("span", {}, setting.unit) : ""),
      make("p", {}, setting.help),
    );
  }

  drawScript() {
    const parts = this.run.parts.filter((part) => part.startsWith("do="));
    const rows = parts.map((part) => this.row(part));
    const last = /@([\d.]+)/.exec(parts.at(-1) ?? "")?.[1] ?? "0";
    const { actions } = this.catalogue;
    const added = `do=client@${decimal(Number(last) + 0.5)}:${(actions.find((one) => one.name === "close") ?? actions[0]).name}`;
    element("script").append(
      make("h3", {}, say("script")),
      make("ol", {}, ...rows),
      make("button", { type: "button", click: () => this.change([], [added]) }, say("add_action")),
    );
  }

  row(part) {
    const [, end, time, action, octets = ""] = /^do=(\w+)@([\d.]+):([\w-]+)(?:,(\d+))?$/.exec(part) ?? [null, "client", "0", "open"];
    const named = (tag, label, attributes, ...content) => make(tag, { "aria-label": label, ...attributes }, ...content);
    const option = (value, title, chosen) => make("option", { value, selected: value === chosen }, title);
    const who = named("select", say("field_who"), {}, option("client", say("client"), end), option("server", say("server"), end));
    const when = named("input", say("field_at"), { type: "number", min: 0, step: "any", value: time, required: true });
    const what = named("select", say("field_action"), {}, ...this.catalogue.actions.map((one) => option(one.name, one.title, action)));
    const takes = (name) => this.catalogue.actions.find((one) => one.name === name)?.octets;
    const many = named("input", say("field_length"), { type: "number", min: 1, step: 1, value: octets || "10", hidden: !takes(action) });
    const changed = () => {
      if (![when, many].every((one) => one.reportValidity())) return;
      const size = takes(what.value) ? `,${many.value}` : "";
      this.change([part], [`do=${who.value}@${decimal(Number(when.value))}:${what.value}${size}`]);
    };
    for (const one of [who, when, what, many]) one.addEventListener("change", changed);
    return make("li", {}, when, who, what, many,
      make("button", { type: "button", title: say("remove"), "aria-label": say("remove_part", { name: part }), click: () => this.change([part], []) }, icon("lose")));
  }
}
