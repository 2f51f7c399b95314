"use strict";
// Sound is decoded when it is first wanted and played from the buffer, so that a word begins and ends at its very samples.

const KEPT = 6; // decoded utterances
const AIR_PX = 3; // beside a label, in its box
const SIZES_PX = [12, 10.5, 9];

let context = null;
let playing = null; // { row, source, from, to, began }
const decoded = new Map();

const rows = [...document.querySelectorAll(".utterance")].map((box) => ({
  box,
  from: Number(box.dataset.from),
  seconds: Number(box.dataset.seconds),
  lanes: box.querySelector(".lanes"),
  track: box.querySelector(".track"),
  cursor: box.querySelector(".cursor"),
  failed: box.querySelector(".failed"),
  words: [...box.querySelectorAll(".boxes.words g")],
  at: Number(box.dataset.from),
}));

// --- what is to be seen -----------------------------------------------------------------------------------------------

const labels = rows.map((row) => [...row.box.querySelectorAll(".boxes text")].map((text) => ({
  text, width: text.getComputedTextLength(), seconds: text.parentNode.dataset.to - text.parentNode.dataset.from })));
const fit = () => rows.forEach((row, number) => {
  const pxPerS = row.track.clientWidth / row.seconds;
  for (const { text, width, seconds } of labels[number]) {
    const size = SIZES_PX.find((px) => (width * px) / SIZES_PX[0] <= seconds * pxPerS - AIR_PX);
    text.style.fontSize = `${size ?? SIZES_PX[0]}px`;
    text.classList.toggle("crowded", size === undefined);
  }
});
const place = (row, at) => {
  row.at = at;
  row.cursor.hidden = false;
  const share = Math.min(1, Math.max(0, (at - row.from) / row.seconds));
  row.cursor.style.left = `${100 * share}%`;
  for (const word of row.words) word.classList.toggle("now", word.dataset.from <= at && at < word.dataset.to);
  const x = share * row.track.clientWidth - row.lanes.scrollLeft;
  if (x < 0 || x > row.lanes.clientWidth) row.lanes.scrollLeft += x - row.lanes.clientWidth / 4;
};

document.getElementById("zoom").addEventListener("change", (event) => {
  document.documentElement.style.setProperty("--px-per-s", event.target.value);
  fit();
});
window.addEventListener("resize", fit);
fit();

// --- what is to be heard ----------------------------------------------------------------------------------------------

const bufferOf = async (row) => {
  const known = decoded.get(row);
  if (known) return known;
  const text = atob(row.box.querySelector("script.sound").textContent);
  const buffer = await context.decodeAudioData(Uint8Array.from(text, (character) => character.charCodeAt(0)).buffer);
  decoded.set(row, buffer);
  if (decoded.size > KEPT) decoded.delete(decoded.keys().next().value);
  return buffer;
};
const heardAt = ({ from, to, began }) => Math.min(to, Math.max(from, from + context.currentTime - began - (context.outputLatency || 0)));
const stop = () => {
  if (!playing) return;
  const { row, source } = playing;
  source.onended = null;
  source.stop();
  place(row, heardAt(playing));
  row.box.classList.remove("playing");
  playing = null;
};
let wanted = 0; // the last play that was asked for: decoding takes a while, and another may be asked for meanwhile
const play = async (row, from, to = row.from + row.seconds) => {
  wanted += 1;
  const asked = wanted;
  row.failed.hidden = true;
  let buffer = null;
  try {
    context ??= new AudioContext();
    if (context.state === "suspended") await context.resume();
    buffer = await bufferOf(row);
  } catch (error) {
    row.failed.textContent = `This browser cannot play it: ${error.message}`;
    row.failed.hidden = false;
    return;
  }
  if (asked !== wanted) return;
  stop();
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.onended = () => {
    if (playing?.source !== source) return;
    place(row, playing.to);
    row.box.classList.remove("playing");
    playing = null;
  };
  source.start(0, from - row.from, to - from);
  playing = { row, source, from, to, began: context.currentTime };
  row.box.classList.add("playing");
  follow();
};
const follow = () => {
  if (!playing) return;
  place(playing.row, heardAt(playing));
  window.requestAnimationFrame(follow);
};
const toggle = (row) => {
  if (playing?.row === row) stop();
  else play(row, row.at < row.from + row.seconds - 0.01 ? row.at : row.from);
};
const playWord = (row, word) => {
  place(row, Number(word.dataset.from));
  play(row, Number(word.dataset.from), Number(word.dataset.to));
};

// --- by hand ----------------------------------------------------------------------------------------------------------

for (const row of rows) {
  row.box.querySelector(".play").addEventListener("click", () => toggle(row));
  row.track.addEventListener("click", (event) => {
    const word = event.target.closest("[data-to]");
    if (word) {
      word.focus?.({ preventScroll: true });
      playWord(row, word);
    } else if (event.target.closest(".picture, .seconds")) {
      const box = row.track.getBoundingClientRect();
      const at = row.from + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * row.seconds;
      place(row, at);
      play(row, at);
    }
  });
  row.lanes.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") {
      toggle(row);
    } else if (event.key === "Enter" && event.target.dataset.to) {
      playWord(row, event.target);
    } else if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && row.words.length) {
      const here = row.words.indexOf(document.activeElement);
      const next = here < 0 ? row.words.findIndex((word) => word.dataset.to > row.at) : here + (event.key === "ArrowRight" ? 1 : -1);
      const word = row.words[Math.min(row.words.length - 1, Math.max(0, next))];
      word.focus({ preventScroll: true });
      playWord(row, word);
    } else {
      return;
    }
    event.preventDefault();
  });
}
