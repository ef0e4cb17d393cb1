// The keyboard, and the panel that describes it.

import { element, make } from "./dom.js";
import { say } from "./texts.js";

const PRESSES = {
  ArrowLeft: "previous", ArrowUp: "previous", ArrowRight: "next", ArrowDown: "next", Home: "first", End: "last",
  " ": "play", "-": "slower", "+": "faster", "=": "faster",
  l: "lose", d: "delay", u: "duplicate", k: "corrupt", i: "inject-here",
  z: "undo", y: "redo", w: "compare", t: "as-table", c: "copy", e: "exercises", "?": "help",
};
const ROWS = [
  ["← →", "key_steps"], ["Home End", "key_ends"], ["space", "key_play"], ["- +", "key_pace"],
  ["l d u k", "key_edits"], ["i", "key_inject"], ["z y", "key_undo"], ["w", "key_compare"], ["t", "key_table"],
  ["c", "key_copy"], ["e", "key_exercises"], ["Tab", "key_tab"], ["?", "key_help"],
];
const MODIFIED = { z: "undo", Z: "redo", y: "redo" };

/** Call `actions[name]` for a key, or press the button of that name. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.altKey || element("keys").open) return;
    const writing = target.matches("select, textarea, input:not([type=range]):not([type=checkbox])");
    if (event.ctrlKey || event.metaKey) {
      if (!writing && MODIFIED[key]) press(event, MODIFIED[key], actions);
      return;
    }
    if (writing || event.defaultPrevented) return;
    if (target.matches("button, summary, input") && (key === " " || key === "Enter")) return; // it is pressed
    if (/^[a-z]$/i.test(key) && !element("letters").checked) return;
    const name = PRESSES[key.length === 1 ? key.toLowerCase() : key];
    if (name) press(event, name, actions);
  });
}

function press(event, name, actions) {
  event.preventDefault();
  if (actions[name]) actions[name]();
  else if (!element(name).closest("[hidden]")) element(name).click();
}

/** Write the help for the present language. */
export function writeHelp() {
  element("help-text").replaceChildren(...["help_touch", "help_address", "help_local"].map((name) => make("p", {}, say(name))));
  element("keys").querySelector("dl").replaceChildren(
    ...ROWS.flatMap(([keys, name]) => [
      make("dt", {}, ...keys.split(" ").flatMap((key) => [make("kbd", {}, key === "space" ? say("space") : key.length === 1 ? key.toUpperCase() : key), " "])),
      make("dd", {}, say(name)),
    ]),
  );
}
