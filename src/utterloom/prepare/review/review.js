"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const words = Object.keys(data.verdicts);
const byId = (id) => document.getElementById(id);
const player = byId("player");
const JUMP_S = 2;

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
};

// --- what is kept -----------------------------------------------------------------------------------------------------

// One key an utterance, so that two windows with this page do not undo each other's marks.
const keyOf = (id) => `utterloom ${data.sample} ${id}`;
const savedKey = `utterloom ${data.sample}`; // no id is empty
const empty = { verdict: "", text: null, note: "" }; // text: null is the text as it was
let keeps = true;

const readKept = (key) => {
  try {
    return window.localStorage.getItem(key);
  } catch {
    keeps = false;
    return null;
  }
};
const keep = (key, value) => {
  try {
    if (value === null) window.localStorage.removeItem(key);
    else window.localStorage.setItem(key, value);
  } catch {
    keeps = false;
  }
};
const parsed = (text) => {
  try {
    const mark = { ...empty, ...JSON.parse(text ?? "{}") };
    return words.includes(mark.verdict) ? mark : { ...mark, verdict: "" };
  } catch {
    return { ...empty };
  }
};

const rows = data.items.map((item) => ({ item, mark: parsed(readKept(keyOf(item.id))), parts: null }));
const original = (row) => row.item.text ?? "";
const plain = (text) => text.normalize("NFC").split(/\s+/u).filter(Boolean).join(" ");
const isChanged = (row) => row.mark.text !== null && plain(row.mark.text) !== plain(original(row));
const isWanting = (row) => row.mark.verdict === "fix" && !(isChanged(row) && row.mark.text.trim());
const isDone = (row) => row.mark.verdict !== "" && !isWanting(row);

const answers = () =>
  JSON.stringify(
    {
      utterloom: { kind: data.kind, format: data.format },
      sample: data.sample,
      order: data.order,
      utterances: rows.map(({ item, mark }) => ({
        id: item.id,
        text: item.text,
        verdict: mark.verdict || null,
        corrected_text: mark.verdict === "fix" && mark.text !== null ? mark.text.trim() : null,
        note: mark.note.trim() || null,
      })),
    },
    null,
    2,
  ) + "\n";
const nameOf = (text) => {
  let hash = 0;
  for (let index = 0; index < text.length; index++) hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0;
  return `${text.length} ${hash}`;
};

// --- the list ---------------------------------------------------------------------------------------------------------

const icon = (path, className) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
};
const fits = CSS.supports("field-sizing", "content");
const fit = (area) => {
  if (fits) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
};

const build = (row) => {
  const { item } = row;
  const play = element("button", { type: "button", class: "play", "aria-label": `Play number ${item.number}` },
    icon("M4 2l10 6-10 6z", "start"), icon("M3 2h4v12H3zM9 2h4v12H9z", "pause"));
  const facts = element("div", { class: "facts" }, element("b", {}, String(item.number)), element("code", {}, item.id),
    element("span", {}, `${item.duration_s.toFixed(1)}\u202fs`),
    item.speaker ? element("span", { dir: "auto" }, item.speaker) : null, item.split ? element("span", {}, item.split) : null);
  const text = element("textarea", { rows: "1", dir: "auto", lang: item.language, spellcheck: "false", autocomplete: "off",
    "aria-label": `Text of number ${item.number}`, placeholder: "no text" });
  const before = element("p", { class: "before", dir: "auto", lang: item.language }, "was: ", element("span", {}, original(row)));
  const verdicts = words.map((word, index) => element("button", {
    type: "button", class: `verdict ${word}`, title: `${data.verdicts[word]} (key ${index + 1})` }, word));
  const note = element("input", { class: "note-field", placeholder: "note", dir: "auto", autocomplete: "off",
    "aria-label": `Note on number ${item.number}` });
  const wanting = element("p", { class: "wanting" }, "Correct the text above: fix needs another text.");
  const where = element("input", { type: "range", class: "where", min: "0", max: String(item.duration_s), step: "any", value: "0",
    "aria-label": "Place in the audio" });
  const failed = element("p", { class: "failed", role: "alert", hidden: "" });
  const box = element("li", { tabindex: "-1", "data-id": item.id }, play,
    element("div", {}, facts, text, before), element("div", { class: "marks" }, ...verdicts, note, wanting), where, failed);
  row.parts = { box, play, text, before, verdicts, note, wanting, where, failed };

  box.addEventListener("pointerdown", () => select(row, false));
  box.addEventListener("focusin", () => select(row, false));
  play.addEventListener("click", (event) => {
    toggle(row);
    letGo(event, row);
  });
  verdicts.forEach((button, index) => button.addEventListener("click", (event) => {
    judge(row, row.mark.verdict === words[index] ? "" : words[index]);
    if (words[index] === "fix" && row.mark.verdict === "fix" && isWanting(row)) text.focus();
    else letGo(event, row);
  }));
  text.addEventListener("input", () => {
    const typed = text.value === original(row) ? null : text.value;
    row.mark = { ...row.mark, text: typed };
    if (isChanged(row)) row.mark.verdict = "fix"; // who types a correction means it
    store(row);
    show(row);
  });
  note.addEventListener("input", () => {
    row.mark = { ...row.mark, note: note.value };
    store(row);
  });
  where.addEventListener("input", () => {
    if (playing === row) player.currentTime = Number(where.value);
  });
  return box;
};

// A button that was clicked lets go of the keyboard: Space plays again and does not press it once more.
const letGo = (event, row) => {
  if (event.detail > 0) row.parts.box.focus({ preventScroll: true });
};

const show = (row) => {
  const { box, text, before, verdicts, note, wanting } = row.parts;
  // Another verdict than fix does not change the text; what was typed is kept for when fix is chosen again.
  const shown = row.mark.verdict === "fix" && row.mark.text !== null ? row.mark.text : original(row);
  if (text.value !== shown) text.value = shown;
  if (note.value !== row.mark.note) note.value = row.mark.note;
  const changed = row.mark.verdict === "fix" && isChanged(row);
  box.classList.toggle("changed", changed);
  before.hidden = !changed || !original(row);
  wanting.hidden = !isWanting(row);
  verdicts.forEach((button, index) => button.setAttribute("aria-pressed", String(row.mark.verdict === words[index])));
  fit(text);
  count();
};

const store = (row) => {
  const { verdict, text, note } = row.mark;
  keep(keyOf(row.item.id), verdict || text !== null || note ? JSON.stringify(row.mark) : null);
  count();
};

const judge = (row, verdict) => {
  row.mark = { ...row.mark, verdict };
  store(row);
  show(row);
};

// --- how far it is ----------------------------------------------------------------------------------------------------

let counting = false;
const count = () => {
  if (counting) return;
  counting = true;
  queueMicrotask(() => {
    counting = false;
    const done = rows.filter(isDone).length;
    const each = words.map((word) => [rows.filter((row) => row.mark.verdict === word).length, word]).filter(([number]) => number);
    const isSaved = nameOf(answers()) === readKept(savedKey);
    byId("progress").max = rows.length;
    byId("progress").value = done;
    byId("count").textContent = `${done} of ${rows.length} judged` +
      (each.length ? `: ${each.map(([number, word]) => `${number} ${word}`).join(", ")}` : "") +
      (each.length ? (isSaved ? " · saved" : " · not saved") : "");
    if (!keeps) notify("This browser keeps nothing for this page: save your verdicts before you close it.");
  });
};
const notify = (text) => {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
};

// --- moving and playing -----------------------------------------------------------------------------------------------

let current = null;
let playing = null;

const select = (row, scroll = true) => {
  if (current !== row) {
    current?.parts.box.classList.remove("current");
    current = row;
    row.parts.box.classList.add("current");
  }
  if (scroll) {
    row.parts.box.focus({ preventScroll: true });
    row.parts.box.scrollIntoView({ block: "nearest" });
  }
};
const visible = () => rows.filter((row) => !row.parts.box.hidden);
const step = (by) => {
  const there = visible();
  if (!there.length) return null;
  const at = there.indexOf(current);
  const next = there[at < 0 ? 0 : Math.min(there.length - 1, Math.max(0, at + by))];
  select(next);
  return next;
};

const stop = () => {
  player.pause();
  playing?.parts.box.classList.remove("playing");
};
const start = (row) => {
  if (playing !== row) {
    stop();
    if (playing) playing.parts.where.value = 0;
    playing = row;
    player.src = row.item.audio;
  } else if (player.ended) {
    player.currentTime = 0;
  }
  player.playbackRate = Number(byId("speed").value);
  row.parts.failed.hidden = true;
  player.play().catch((error) => {
    if (error.name === "AbortError" || playing !== row) return; // another one was started meanwhile
    row.parts.box.classList.remove("playing");
    row.parts.failed.textContent = `${row.item.audio} cannot be played: is the folder audio beside this page? (${error.name})`;
    row.parts.failed.hidden = false;
  });
};
const toggle = (row) => {
  select(row, false);
  if (playing === row && !player.paused) stop();
  else start(row);
};
const onwards = (then) => {
  const from = rows.indexOf(current) + 1;
  const next = [...rows.slice(from), ...rows.slice(0, from)].find((row) => !isDone(row) && row !== current && !row.parts.box.hidden);
  if (next) {
    select(next);
    if (then) start(next);
  } else {
    notify(rows.every(isDone) ? "All are judged. Press Save verdicts." : "");
  }
};

player.addEventListener("play", () => playing?.parts.box.classList.add("playing"));
for (const name of ["pause", "ended"]) player.addEventListener(name, () => playing?.parts.box.classList.remove("playing"));
const follow = () => {
  if (playing) playing.parts.where.value = player.currentTime;
  if (!player.paused) window.requestAnimationFrame(follow);
};
for (const name of ["playing", "seeked", "ended"]) player.addEventListener(name, follow);
byId("speed").addEventListener("change", () => {
  player.playbackRate = Number(byId("speed").value);
});

document.addEventListener("keydown", (event) => {
  const { target } = event;
  const isText = target.matches?.("textarea, .note-field");
  if (isText) {
    if (event.key === "Escape") current?.parts.box.focus();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) onwards(true);
    else if (!(event.key === "Enter" && target.matches(".note-field"))) return;
    else current?.parts.box.focus();
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches?.("select, input")) return;
  const isButton = target.matches?.("button, summary, a");
  if (event.key === " " || event.key === "Enter") {
    if (isButton) return; // whoever went there with Tab presses it
    if (!current) step(0);
    if (current) toggle(current);
  } else if (event.key === "ArrowDown" || event.key === "j") {
    step(1);
  } else if (event.key === "ArrowUp" || event.key === "k") {
    step(-1);
  } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (!playing || playing !== current) return;
    player.currentTime = Math.max(0, player.currentTime + (event.key === "ArrowLeft" ? -JUMP_S : JUMP_S));
  } else if (current && Number(event.key) >= 1 && Number(event.key) <= words.length) {
    const word = words[Number(event.key) - 1];
    judge(current, current.mark.verdict === word && word !== "fix" ? "" : word);
    if (word === "fix") current.parts.text.focus();
    else if (byId("onward").checked && current.mark.verdict) onwards(true);
  } else {
    return;
  }
  event.preventDefault();
});

// --- filter, save, load -----------------------------------------------------------------------------------------------

const filters = {
  all: ["all", () => true], undone: ["not judged", (row) => !isDone(row)],
  ...Object.fromEntries(words.map((word) => [word, [word, (row) => row.mark.verdict === word]])),
};
for (const [value, [name]] of Object.entries(filters)) byId("filter").append(element("option", { value }, name));
const filter = () => {
  const [, admits] = filters[byId("filter").value];
  for (const row of rows) {
    row.parts.box.hidden = !admits(row);
    fit(row.parts.text);
  }
  byId("none").hidden = visible().length > 0;
};
byId("filter").addEventListener("change", filter);

byId("save").addEventListener("click", () => {
  const text = answers();
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = element("a", { href: url, download: data.file });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(url), 60_000);
  keep(savedKey, nameOf(text));
  count();
  const wanting = rows.filter(isWanting);
  notify(wanting.length
    ? `Saved. But ${wanting.length} of them say fix and have no other text, which cannot be gone by: ` +
      `number ${wanting.slice(0, 8).map((row) => row.item.number).join(", ")}.`
    : `Saved as ${data.file}, most likely in your downloads. Put it into the folder of this page, or send it back.`);
});

byId("load").addEventListener("change", async () => {
  const [file] = byId("load").files;
  byId("load").value = "";
  if (!file) return;
  let value = null;
  try {
    value = JSON.parse(await file.text());
  } catch {
    /* said below */
  }
  if (value?.utterloom?.kind !== data.kind || !Array.isArray(value.utterances)) {
    notify(`${file.name} does not hold verdicts.`);
    return;
  }
  if (value.sample !== data.sample) {
    notify(`${file.name} is of another sample.`);
    return;
  }
  const loaded = new Map(value.utterances.map((entry) => [entry.id, {
    verdict: words.includes(entry.verdict) ? entry.verdict : "", text: entry.corrected_text ?? null, note: entry.note ?? "" }]));
  const isMarked = (mark) => Boolean(mark.verdict || mark.note);
  const says = (mark) => JSON.stringify([mark.verdict, mark.verdict === "fix" ? mark.text : null, mark.note]);
  const taken = rows.filter((row) => loaded.has(row.item.id) && isMarked(loaded.get(row.item.id)));
  const other = taken.filter((row) => isMarked(row.mark) && says(row.mark) !== says(loaded.get(row.item.id)));
  const replaces = other.length > 0 && window.confirm(
    `${other.length} of ${taken.length} are marked differently here. Replace them by what ${file.name} says?`);
  const changed = taken.filter((row) => replaces || !other.includes(row));
  for (const row of changed) {
    row.mark = loaded.get(row.item.id);
    store(row);
    show(row);
  }
  notify(`${changed.length} marks taken from ${file.name}` + (changed.length < taken.length ? `, ${taken.length - changed.length} left as they are here.` : "."));
});

// Marks that another window of this page makes.
window.addEventListener("storage", (event) => {
  const row = rows.find(({ item }) => keyOf(item.id) === event.key);
  if (!row) return;
  row.mark = parsed(event.newValue);
  show(row);
});
window.addEventListener("beforeunload", (event) => {
  if (!keeps && rows.some((row) => row.mark.verdict)) event.preventDefault();
});

byId("items").append(...rows.map(build));
rows.forEach(show);
if (!fits) window.addEventListener("resize", () => rows.forEach((row) => fit(row.parts.text)));
const first = rows.find((row) => !isDone(row)) ?? rows[0];
if (first) select(first, rows.indexOf(first) > 0);
