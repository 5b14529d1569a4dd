// Keeps the parts of a page that are marked data-live-part up to date. The server says by an event that something has
// changed; the page is then fetched again and the parts are exchanged, so that templates stay the only ones that write.
const stream = document.body.dataset.live;
const pause = document.querySelector("[data-live-pause]");
const dot = document.querySelector("[data-live-dot]");
const word = document.querySelector("[data-live-word]");
const lost = document.querySelector("[data-live-lost]");
const SETTLE_MS = 150;
const AGAIN_MS = 15_000;

let source;
let paused = false;
let timer;

function say(state, text) {
  if (lost) lost.hidden = state !== "lost";
  if (!word) return;
  dot.className = `dot ${{ live: "live", paused: "", lost: "warn" }[state]}`;
  word.textContent = text;
}

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok || paused) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const focused = document.activeElement;
  for (const part of document.querySelectorAll("[data-live-part]")) {
    const made = fresh.getElementById(part.id);
    if (!made || made.innerHTML === part.innerHTML || part.querySelector("select:focus")) continue;
    const unfolded = part.querySelector("details")?.open;
    const held = part.contains(focused) ? focused.getAttribute("href") : null;
    part.replaceChildren(...document.importNode(made, true).childNodes);
    if (unfolded) part.querySelector("details")?.setAttribute("open", "");
    if (held) [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === held)?.focus();
  }
  say("live", `Live, updated ${new Date().toISOString().slice(11, 19)} UTC`);
}

function listen() {
  source = new EventSource(stream);
  const settle = () => {
    clearTimeout(timer);
    timer = setTimeout(() => refresh().catch(() => say("lost", "Connection lost")), SETTLE_MS);
  };
  source.addEventListener("open", () => say("live", "Live"));
  source.addEventListener("freshness", settle);
  source.addEventListener("error", () => {
    say("lost", "Connection lost, trying again");
    // The browser tries again by itself, but not after an answer such as 503.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => paused || document.hidden || listen(), AGAIN_MS);
  });
}

function stop() {
  source?.close();
  clearTimeout(timer);
}

if (stream) {
  listen();
  pause?.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    stop();
    if (paused) say("paused", "Paused");
    else listen();
  });
  // A page that nobody looks at holds no stream.
  document.addEventListener("visibilitychange", () => {
    if (paused) return;
    stop();
    if (!document.hidden) listen();
  });
}
