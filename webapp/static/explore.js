// Keys of the page of a trail, while one of the steps that its tables offer has the focus: arrows move between them,
// Backspace goes one step back. Who goes on by keys finds the focus on a step again. The links work without this file.
const columns = ["sources", "destinations"].map((side) => [...document.querySelectorAll(`[data-side="${side}"] [data-step]`)]);
const [sources, destinations] = columns;
const back = document.querySelector("[data-back]");
const BY_KEYS = "trail-by-keys";

function target(key, column, at) {
  switch (key) {
    case "ArrowDown":
      return column[Math.min(at + 1, column.length - 1)];
    case "ArrowUp":
      return column[Math.max(at - 1, 0)];
    case "ArrowRight":
      return column === sources ? destinations[Math.min(at, destinations.length - 1)] : undefined;
    case "ArrowLeft":
      return column === destinations ? (sources[Math.min(at, sources.length - 1)] ?? back) : back;
    case "Backspace":
      return back;
    case "Enter":
      return column[at];
  }
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const column = columns.find((links) => links.includes(event.target));
  const found = column && target(event.key, column, column.indexOf(event.target));
  if (!found) return;
  if (found === back || event.key === "Enter") sessionStorage.setItem(BY_KEYS, "");
  if (event.key === "Enter") return;
  event.preventDefault();
  if (found === back) location.assign(back.href);
  else found.focus();
});

if (sessionStorage.getItem(BY_KEYS) !== null) {
  sessionStorage.removeItem(BY_KEYS);
  (destinations[0] ?? sources[0])?.focus();
}
