// The parts of an experiment. Edits name packets by their number in the order of sending, so that a packet which comes in
// or goes out moves the numbers of those after it.

const NUMBERED = /^(lose|delay|duplicate|corrupt)=(\d+)(.*)$/;

/** Return the address of a scene with parts. */
export const experimentOf = (scene, parts) => (parts.length ? `${scene}?${parts.join("&")}` : scene);

/** Return the parts of a run's experiment without some of them and with others. */
export function changed(run, removed, added) {
  const moves = [
    ...removed.map((part) => [from(run, part, false), -1]),
    ...added.map((part) => [from(run, part, true), 1]),
  ];
  const kept = run.parts.filter((part) => !removed.includes(part)).map((part) => {
    const [, edit, number, rest] = NUMBERED.exec(part) ?? [];
    if (!edit) return part;
    const shift = moves.reduce((sum, [first, by]) => sum + (Number(number) >= first ? by : 0), 0);
    return `${edit}=${Number(number) + shift}${rest}`;
  });
  return [...kept, ...added.filter((part) => !kept.includes(part))];
}

/** Return the number of the first packet that moves when an edit's own packet comes in or goes out. */
function from(run, part, comes) {
  const [name, value] = part.split("=");
  if (name === "duplicate") {
    const [number, seconds] = value.split(":").map(Number);
    const original = run.rungs.find((rung) => rung.packet === number);
    if (!seconds || !original) return number + 1;
    return since(run, original.time + seconds) + (comes ? 0 : 1);
  }
  if (name !== "inject") return Infinity;
  if (!comes) return (run.edits.find((edit) => edit.part === part)?.packet ?? Infinity) + 1;
  return since(run, Number(/@([\d.]+):/.exec(value)[1]));
}

/** Return the number of the first packet from a time on. */
const since = (run, time) => run.rungs.find((rung) => rung.packet !== null && rung.time >= time - 1e-6)?.packet ?? Infinity;
