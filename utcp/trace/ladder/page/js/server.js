// Answers to the page's questions: from the server, or from the file itself.

import { element } from "./dom.js";
import { currentLanguage, LANGUAGES, say } from "./texts.js";

let inlined = JSON.parse(element("data").textContent);

/** The object of a file that needs no server, or of a capture; null: experiments are possible. */
export const inlinedData = () => inlined;

/** Return the languages that there are texts for. */
export const offeredLanguages = () => LANGUAGES.filter((one) => !inlined || inlined[one]);

/** A failure, in words for the user. `gone`: the server does not answer. */
export class Problem extends Error {
  constructor(text, gone = false) {
    super(text);
    this.gone = gone;
  }
}

async function ask(name, parameters) {
  const query = new URLSearchParams({ lang: currentLanguage(), ...parameters });
  let reply;
  let body;
  try {
    reply = await fetch(`/api/${name}?${query}`);
    body = await reply.json();
  } catch {
    throw new Problem(say("server_gone"), true);
  }
  if (!reply.ok) throw new Problem(body.error ?? say("server_failed"));
  return body;
}

export async function askCatalogue() {
  if (!inlined) {
    const found = await ask("catalogue", {});
    if (!found.capture) return found;
    inlined = found.capture;
  }
  return inlined[currentLanguage()].catalogue;
}

/** Return {run, was, first}: the run of an experiment, and that of the scene unedited, if it differs. */
export async function simulate(experiment) {
  if (inlined) {
    const { run, comparison } = inlined[currentLanguage()];
    return { run, was: comparison?.was ?? null, first: comparison?.first ?? null };
  }
  if (!experiment.includes("?")) return { run: await ask("run", { address: experiment }), was: null, first: null };
  const { was, now, first } = await ask("compare", { address: experiment });
  return { run: now, was: now.edited ? was : null, first };
}

export const askCheck = (exercise, experiment) => ask("check", { exercise, address: experiment });
