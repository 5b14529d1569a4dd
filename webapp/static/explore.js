// Keys of the page of a trail: arrows move between the steps that its tables offer, Backspace goes one step back. The
// links work without this file.
const columns = ["sources", "destinations"].map((side) => [...document.querySelectorAll(`[data-side="${side}"] [data-step]`)]);
const [sources, destinations] = columns;
const back = document.querySelector("[data-back]");

function target(key) {
  const column = columns.find((links) => links.includes(document.activeElement));
  const at = column?.indexOf(document.activeElement) ?? -1;
  const first = destinations[0] ?? sources[0];
  switch (key) {
    case "ArrowDown":
      return column ? column[Math.min(at + 1, column.length - 1)] : first;
    case "ArrowUp":
      return column ? column[Math.max(at - 1, 0)] : undefined;
    case "ArrowRight":
      return column === sources ? destinations[Math.min(at, destinations.length - 1)] : column ? undefined : first;
    case "ArrowLeft":
      return column === destinations ? (sources[Math.min(at, sources.length - 1)] ?? back) : back;
    case "Backspace":
      return back;
  }
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const found = target(event.key);
  if (!found) return;
  event.preventDefault();
  if (found === back) location.assign(back.href);
  else found.focus();
});
