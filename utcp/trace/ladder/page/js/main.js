// The page's state: the experiment, its run, the present step; everything else shows it.

import { drawAbout } from "./about.js";
import { compose, parse } from "./address.js";
import { announce, element, make, tell } from "./dom.js";
import { Drawing } from "./drawing.js";
import { changed, experimentOf } from "./edits.js";
import { EndView } from "./ends.js";
import { ExercisesView } from "./exercises.js";
import { ExperimentView } from "./experiment.js";
import { listen, writeHelp } from "./keys.js";
import { Panels } from "./panels.js";
import { Player } from "./player.js";
import { askCatalogue, askCheck, inlinedData, offeredLanguages, simulate } from "./server.js";
import { SettingsView } from "./settings.js";
import { StepView } from "./step.js";
import { fillTable, markRow, presentRow } from "./table.js";
import { currentLanguage, say, speak } from "./texts.js";

const now = { experiment: "", exercise: null, beside: false, lang: null };
let catalogue = null;
let shown = null; // {run, was, first}
let asked = 0; // number of the latest question, because an answer may be overtaken
const visited = []; // experiments, for undo and redo
let position = -1; // the present one in `visited`
let asking = null; // the one that undo or redo has asked for

document.body.classList.toggle("plain", inlinedData()?.plain === true);
const panels = new Panels();
const ends = [new EndView("client"), new EndView("server")];
const drawing = new Drawing(element("now").querySelector(".drawing"), (index) => pick(index));
const drawingWas = new Drawing(element("was").querySelector(".drawing"), (index) => pick(nearest(shown.run, shown.was.rungs[index].time)));
const player = new Player(showStep);
const step = new StepView(change);
const experiment = new ExperimentView(change, (index) => player.go(index));
const settings = new SettingsView(change, (address) => open({ experiment: address }));
const exercises = new ExercisesView((exercise) =>
  exercise ? open({ experiment: exercise.address, exercise: exercise.name, step: 1 }) : open({ exercise: null }),
);

const possible = () => inlinedData()?.experiments !== false;
const plain = () => document.body.classList.contains("plain"); // a ladder alone

// ------------------------------------------------------------------ the experiment

/** Take parts out of the experiment, and add others. */
function change(removed, added) {
  const follow = added.find((part) => !part.startsWith("do=")) ?? null;
  open({ experiment: experimentOf(shown.run.scene, changed(shown.run, removed, added)), follow });
}

/** Open another experiment or another view of this one. `follow` is an edit whose segment becomes the present step. `to`
 *  is the place in `visited`; null: a new one, if the experiment is another. */
async function open(wanted, to = null) {
  const next = { ...now, ...wanted };
  const number = ++asked;
  asking = to;
  const ladder = element("ladder");
  ladder.setAttribute("aria-busy", "true");
  try {
    const result = await simulate(next.experiment);
    if (number !== asked) return;
    if (!next.quiet) tell(null);
    Object.assign(now, { experiment: result.run.address, exercise: next.exercise, beside: next.beside });
    if (to !== null) position = to;
    else if (visited[position] !== now.experiment) visited.splice(++position, Infinity, now.experiment);
    asking = null;
    present(result, next);
    await judge(number);
  } catch (problem) {
    if (number !== asked) return;
    asking = null;
    report(problem);
    if (shown) showScene(shown.run); // the menu, too
    if (!shown && next.experiment !== catalogue.scenes[0].name) await open({ experiment: catalogue.scenes[0].name, quiet: true });
  } finally {
    if (number === asked) ladder.removeAttribute("aria-busy");
  }
}

function report(problem) {
  if (problem.name !== "Error") throw problem; // a mistake of the page
  tell(problem.message);
}

/** Show a new run. */
function present(result, { step: wanted, follow }) {
  const same = shown?.run.scene === result.run.scene;
  const previous = same ? player.index : 0;
  shown = result;
  const { run, was, first } = result;
  document.title = plain() ? run.title : `${run.title} · utcp lab`;
  showScene(run);
  element("compare").disabled = !was;
  element("undo").disabled = position === 0;
  element("redo").disabled = position === visited.length - 1;
  for (const end of ends) end.draw(run, catalogue);
  fillTable(run, catalogue.states, pick);
  experiment.draw(result, catalogue, possible());
  settings.draw(run, catalogue, possible());
  drawAbout(run, catalogue);
  drawLadders();
  const edit = run.edits.find((one) => one.part === follow);
  const at = edit?.rung ?? (follow ? first?.now : null) ?? (wanted ? wanted - 1 : previous);
  player.load(run.rungs, at);
  if (!same && !wanted) element("ladder").scrollTop = 0;
  if (first && follow) announce(`${say("first_difference")}: ${first.text}`);
}

/** Choose the scene in the menu, which has an entry of its own for a capture. */
function showScene(run) {
  const menu = element("scene");
  menu.querySelector("[data-capture]")?.remove();
  if (run.origin === "capture") menu.prepend(make("option", { value: run.scene, "data-capture": true }, run.title));
  menu.value = run.scene;
  menu.disabled = !possible();
  document.body.classList.toggle("static", !possible());
  document.body.classList.toggle("capture", run.origin === "capture");
  if (plain()) document.querySelector("header h1").textContent = run.title;
  const origin = element("origin");
  origin.hidden = run.origin !== "capture";
  origin.textContent = say(run.inferred ? "inferred" : "captured");
}

function drawLadders() {
  const { run, was, first } = shown;
  const beside = now.beside && was !== null;
  element("drawings").classList.toggle("compared", beside);
  element("was").hidden = !beside;
  element("compare").setAttribute("aria-pressed", beside);
  const label = say("drawing", { title: run.title, count: run.rungs.length });
  drawing.draw(run, first && { index: first.now, text: say("first_difference") }, label);
  drawing.resize(beside);
  if (beside) {
    drawingWas.draw(was, first && { index: first.was, text: say("first_difference") }, `${say("was")}: ${label}`);
    drawingWas.resize(true);
  }
}

/** Ask whether the exercise is solved. */
async function judge(number) {
  let verdict = null;
  if (now.exercise && possible()) {
    exercises.draw(catalogue, now.exercise, null);
    verdict = await askCheck(now.exercise, now.experiment);
    if (number !== asked) return;
  }
  const fresh = exercises.draw(catalogue, now.exercise, verdict);
  if (fresh) {
    tell(`${say("solved")}. ${verdict.text}`, true);
    announce(`${say("solved")}. ${verdict.text}`);
  }
}

/** Go to the experiment before (-1) or after (1) the present one, or before the one that was asked for last. */
function move(by) {
  const to = (asking ?? position) + by;
  if (to in visited) open({ experiment: visited[to] }, to);
}

// ------------------------------------------------------------------ the present step

function showStep(index, forward) {
  const { run, was, first } = shown;
  step.show(run, index);
  for (const end of ends) end.show(index);
  markRow(index);
  drawing.mark(index, forward);
  if (now.beside && was) drawingWas.mark(index < (first?.now ?? 0) ? index : nearest(was, run.rungs[index].time), false);
  revealPresent();
  experiment.at(run.rungs[index]);
  if (forward || document.activeElement?.closest("#ladder, #player")) announce(step.spoken(run.rungs.length));
  write(index + 1);
}

function pick(index) {
  player.go(index);
}

/** Return the last rung of a run that is not later than a time. */
function nearest(run, time) {
  return Math.max(0, run.rungs.findLastIndex((rung) => rung.time <= time));
}

/** Scroll the ladder so that the present step is seen. */
function revealPresent() {
  const seen = document.body.classList.contains("tabled") ? presentRow() : drawing.position() ?? drawingWas.position();
  const ladder = element("ladder");
  const frame = ladder.getBoundingClientRect();
  if (seen && seen.height && (seen.bottom > frame.bottom - 40 || seen.top < frame.top + 40)) {
    ladder.scrollTop += seen.top + seen.height / 2 - (frame.top + frame.height / 2);
  }
}

// ------------------------------------------------------------------ the address

/** Write the address: a new entry of the browser's history for another experiment, none for a step. */
function write(number) {
  if (element("slider").matches(":active")) return; // when it is let go: browsers limit how often an address changes
  const address = compose({ ...now, lang: offeredLanguages().length > 1 ? currentLanguage() : null, step: number });
  if (location.hash === address) return;
  const same = parse(location.hash).experiment === now.experiment || !location.hash;
  history[same ? "replaceState" : "pushState"](null, "", address);
}

/** Follow an address that the user entered, or the browser's back and forward. */
async function follow() {
  const wanted = parse(location.hash);
  const lang = wanted.lang ?? currentLanguage();
  try {
    if (lang !== currentLanguage()) await translate(lang);
  } catch (problem) {
    report(problem);
    return;
  }
  const experiment = experimentIn(wanted);
  const to = [position, position - 1, position + 1].find((one) => visited[one] === experiment) ?? null;
  await open({ ...wanted, experiment }, to);
}

/** Return the experiment of an address, or else that of the file, or the first scene. */
const experimentIn = (wanted) => inlinedData()?.address ?? (wanted.experiment || catalogue.scenes[0].name);

async function copy() {
  const button = element("copy");
  try {
    await navigator.clipboard.writeText(location.href);
    announce(say("copied"));
    button.querySelector("use").setAttribute("href", "#i-check");
    setTimeout(() => button.querySelector("use").setAttribute("href", "#i-link"), 1500);
  } catch {
    tell(say("not_copied", { address: location.href }));
  }
}

// ------------------------------------------------------------------ language and theme

async function translate(lang) {
  const before = currentLanguage();
  speak(offeredLanguages().includes(lang) ? lang : offeredLanguages()[0]);
  try {
    catalogue = await askCatalogue();
  } catch (problem) {
    speak(before);
    throw problem;
  }
  player.label();
  step.possible = possible();
  step.label(catalogue);
  if (possible()) experiment.build(catalogue);
  writeHelp();
  element("scene").replaceChildren(...catalogue.scenes.map((one) => make("option", { value: one.name }, one.title)));
  element("why").hidden = possible();
  element("why").textContent = possible() ? "" : inlinedData().why[currentLanguage()];
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const themed = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");

function switchTheme() {
  document.documentElement.dataset.theme = themed() === "dark" ? "light" : "dark";
}

// ------------------------------------------------------------------ the beginning

async function switchLanguage() {
  try {
    await translate(currentLanguage() === "zh" ? "en" : "zh");
    await open({ step: player.index + 1 });
  } catch (problem) {
    report(problem);
  }
}

function toggleTable() {
  const tabled = document.body.classList.toggle("tabled");
  element("table").classList.toggle("unseen", !tabled);
  element("as-table").setAttribute("aria-pressed", tabled);
  revealPresent();
}

function showInject() {
  panels.show("experiment");
  element("inject").scrollIntoView({ block: "nearest" });
  element("inject").elements.namedItem("kind").focus({ preventScroll: true });
}

const actions = {
  last: () => player.go(player.count - 1),
  exercises: () => possible() && panels.show("exercises"),
};
const buttons = {
  undo: () => move(-1),
  redo: () => move(1),
  compare: () => {
    now.beside = !now.beside;
    drawLadders();
    player.move(player.index, false);
  },
  copy,
  language: switchLanguage,
  theme: switchTheme,
  help: () => element("keys").showModal(),
  "as-table": toggleTable,
  "inject-here": showInject,
};

async function begin() {
  for (const [name, action] of Object.entries(buttons)) element(name).addEventListener("click", action);
  element("scene").addEventListener("change", () => open({ experiment: element("scene").value, exercise: null, step: 1 }));
  element("message").querySelector("button").addEventListener("click", () => tell(null));
  window.addEventListener("hashchange", follow);
  element("slider").addEventListener("change", () => shown && write(player.index + 1));
  new ResizeObserver(() => {
    if (!shown) return;
    drawing.resize(now.beside);
    drawing.mark(player.index, false);
    revealPresent();
  }).observe(element("ladder"));
  listen(actions);
  element("language").hidden = offeredLanguages().length < 2;
  const wanted = parse(location.hash);
  const preferred = navigator.languages.find((one) => offeredLanguages().includes(one.slice(0, 2)))?.slice(0, 2);
  try {
    await translate(wanted.lang ?? preferred ?? "en");
  } catch (problem) {
    report(problem);
    return;
  }
  if (wanted.exercise) panels.show("exercises", false);
  await open({ ...wanted, experiment: experimentIn(wanted) });
}

begin();
