// Tells of what a number is made, and from when: where a pointer rests on it, or a finger taps it. The same numbers stand
// in columns and in the line under the page's head, so nobody needs this.
const fresh = document.getElementById("fresh");
const NUMBERS = "[data-batch], [data-batch-only]";
const GAP = 6;
const tip = document.createElement("p");
tip.className = "origin";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);

function told({ dataset }) {
  const { generation, horizon, until } = fresh.querySelector("ul").dataset; // as live updates have left it
  const batch = `batch views up to ${horizon}, generation ${generation}`;
  if (dataset.batch === undefined) return `From the ${batch}. No live part.`;
  if (!generation) return `${dataset.live} live. No batch views yet.`;
  const live = until ? ` + ${dataset.live} live from then to ${until}` : "";
  return `${dataset.batch} from the ${batch}${live}.`;
}

function show(number) {
  tip.textContent = told(number);
  tip.hidden = false;
  const at = number.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const above = at.top - height - GAP;
  tip.style.left = `${Math.max(GAP, Math.min(at.right - width, innerWidth - width - GAP))}px`;
  tip.style.top = `${above > GAP ? above : at.bottom + GAP}px`;
}

function hide() {
  tip.hidden = true;
}

if (fresh?.querySelector("ul")) {
  document.addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType === "touch" || tip.contains(target)) return;
    const number = target.closest(NUMBERS);
    if (number) show(number);
    else hide();
  });
  document.addEventListener("click", ({ target }) => {
    const number = target.closest(NUMBERS);
    if (number && !target.closest("a")) show(number);
    else hide();
  });
  document.addEventListener("keydown", ({ key }) => key === "Escape" && hide());
  document.addEventListener("scroll", hide, { passive: true });
}
