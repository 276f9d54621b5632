"use strict";
document.documentElement.classList.add("scripted");
const sections = [...document.querySelectorAll("section")];
const nav = document.querySelector("nav");
function show(id) {
  if (!sections.some(s => s.id === id)) id = sections[0].id;
  for (const s of sections) s.hidden = s.id !== id;
  for (const b of nav.children) b.setAttribute("aria-selected", b.value === id);
}
for (const s of sections) {
  const b = document.createElement("button");
  b.value = s.id;
  b.textContent = s.dataset.title;
  b.setAttribute("role", "tab");
  b.addEventListener("click", () => { history.replaceState(null, "", "#" + s.id); show(s.id); });
  nav.append(b);
}
show(location.hash.slice(1));
addEventListener("hashchange", () => show(location.hash.slice(1)));
const rows = [...document.querySelectorAll("#hosts tbody tr")];
const words = rows.map(r => r.textContent.toLowerCase());
const search = document.querySelector("#search"), labels = [...document.querySelectorAll(".filter button")], count = document.querySelector("#count");
let label = "";
function filter() {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  rows.forEach((r, i) => {
    r.hidden = label && r.dataset.label !== label || !wanted.every(w => words[i].includes(w));
    if (!r.hidden) shown++;
  });
  count.textContent = shown + " of " + rows.length;
}
if (search) {
  search.addEventListener("input", filter);
  for (const b of labels) b.addEventListener("click", () => {
    label = label === b.value ? "" : b.value;
    for (const other of labels) other.setAttribute("aria-pressed", other.value === label);
    filter();
  });
  filter();
}
