// The fragment of the page's address: an experiment for the engine, and behind ";" what concerns the page alone.
//
//     #lost-last-ack?lose=9;step=4;lang=zh;exercise=reset-the-server;beside
//     #step=4    in a file that shows a ladder alone

const DEFAULTS = { step: null, lang: null, exercise: null, beside: false };

export function parse(hash) {
  const parts = decoded(hash.replace(/^#/, "")).split(";");
  const [experiment, ...rest] = /^(step|lang)=/.test(parts[0]) ? ["", ...parts] : parts;
  const found = { ...DEFAULTS, experiment };
  for (const part of rest) {
    const [name, value = ""] = part.split("=");
    if (name === "step" && /^\d+$/.test(value)) found.step = Number(value);
    else if (name === "lang" && /^(en|zh)$/.test(value)) found.lang = value;
    else if (name === "exercise" && /^[a-z0-9-]+$/.test(value)) found.exercise = value;
    else if (name === "beside") found.beside = true;
  }
  return found;
}

/** Return an address that a program on its way may have percent-encoded. */
function decoded(address) {
  try {
    return decodeURIComponent(address);
  } catch {
    return address; // the engine says what is wrong with it
  }
}

export function compose({ experiment, step, lang, exercise, beside }) {
  const parts = experiment ? [experiment] : [];
  if (step) parts.push(`step=${step}`);
  if (lang) parts.push(`lang=${lang}`);
  if (exercise) parts.push(`exercise=${exercise}`);
  if (beside) parts.push("beside");
  return `#${parts.join(";")}`;
}
