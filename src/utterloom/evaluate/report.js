"use strict";

// Sortable tables: the buttons are made here, so that a page without scripts shows no dead ones.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.tagName !== "TH") return; // bars
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [left, right] = [key(a), key(b)];
        if (left === "" || right === "") return (left === "") - (right === ""); // what is not known comes last
        return sign * (numeric ? left - right : left.localeCompare(right, undefined, { numeric: true }));
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// All utterances: `edits` is a list of runs of equal words (a string) and of errors ([ref, hyp], one may be null).
const all = document.getElementById("all");
if (all) {
  const rows = JSON.parse(document.getElementById("utterances-data").textContent);
  const list = all.querySelector(".utterances");
  const [search, onlyErrors] = all.querySelectorAll("input");
  const found = all.querySelector("output");
  const more = document.getElementById("more");
  const pageSize = 25;
  const fold = (text) => text.normalize("NFC").toLowerCase();
  const speak = (edit) => (typeof edit === "string" ? [edit, edit] : edit);
  for (const row of rows) {
    const said = [0, 1].map((side) => row.edits.map((edit) => speak(edit)[side]).filter(Boolean).join(" "));
    row.said = said;
    row.folded = fold([row.id, row.speaker ?? "", ...said].join("\n"));
  }

  const element = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };
  const pair = (ref, hyp) => {
    const kind = ref === null ? "pair ins" : hyp === null ? "pair del" : ref === hyp ? "pair" : "pair sub";
    return element("span", kind, element("span", "", ref ?? ""), element("span", "", hyp ?? ""));
  };
  const show = (row) => {
    const rate = row.words ? `${((100 * row.errors) / row.words).toFixed(1)}\u202f%` : "–";
    const facts = element("div", "facts", element("b", "", `WER ${rate}`), element("code", "", row.id));
    if (row.speaker !== null) facts.append(element("span", "", row.speaker));
    if (row.duration_s !== null) facts.append(element("span", "", `${row.duration_s.toFixed(1)}\u202fs`));
    if (row.missing) facts.append(element("span", "missed", "no hypothesis"));
    const aligned = element("div", "aligned");
    aligned.dir = "auto";
    aligned.setAttribute("aria-hidden", "true");
    for (const edit of row.edits) {
      if (typeof edit === "string") aligned.append(...edit.split(" ").map((word) => pair(word, word)));
      else aligned.append(pair(...edit));
    }
    const spoken = element("p", "spoken", `Reference: ${row.said[0]}. Hypothesis: ${row.said[1]}.`);
    return element("li", "", facts, spoken, aligned);
  };

  let matching = [];
  const grow = () => {
    const shown = list.childElementCount;
    list.append(...matching.slice(shown, shown + pageSize).map(show));
    more.hidden = list.childElementCount >= matching.length;
  };
  const filter = () => {
    const wanted = fold(search.value.trim());
    matching = rows.filter((row) => (!onlyErrors.checked || row.errors) && row.folded.includes(wanted));
    found.textContent = `${matching.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    list.replaceChildren();
    grow();
  };
  search.addEventListener("input", filter);
  onlyErrors.addEventListener("change", filter);
  more.addEventListener("click", grow);
  all.querySelector(".controls").hidden = false;
  filter();
}
