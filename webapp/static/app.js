// Theme switch and search suggestions. Everything else works without this file, and search does, too.
const root = document.documentElement;

for (const button of document.querySelectorAll(".theme")) {
  const name = () => root.dataset.theme ?? "auto";
  const say = () => {
    button.setAttribute("aria-label", `Theme: ${name()}. Change`);
    button.title = `Theme: ${name()}`;
  };
  say();
  button.addEventListener("click", () => {
    const next = { auto: "dark", dark: "light", light: "auto" }[name()];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Private mode: the choice lasts for this page.
    }
    say();
    dispatchEvent(new Event("themechange"));
  });
}

const WAIT_MS = 120;
const ROWS = 8;
const number = new Intl.NumberFormat("en");

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A combobox as in the ARIA Authoring Practices: focus stays in the field, arrows move aria-activedescendant.
function suggest(form) {
  const input = form.querySelector('input[name="q"]');
  const place = form.querySelector('input[name="in"]').value;
  const list = element("ul", { role: "listbox", id: `${input.id}-list`, "aria-label": "Articles, by clicks in" });
  const all = element("a", { href: "/search", tabindex: "-1" }, "All matches");
  const help = element("span", { class: "wide", "aria-hidden": "true" }, element("kbd", {}, "↑"), " ", element("kbd", {}, "↓"), " choose, ", element("kbd", {}, "Enter"), " opens");
  const box = element("div", { class: "list" }, list, element("p", { class: "foot" }, all, help));
  const told = element("p", { class: "vh", role: "status" });
  box.hidden = true;
  form.append(box, told);
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);

  let at = -1;
  let asking;
  let timer;
  const options = () => [...list.children];
  const open = (yes) => {
    box.hidden = !yes;
    input.setAttribute("aria-expanded", String(yes));
    if (!yes) pick(-1);
  };
  function pick(index) {
    const rows = options();
    at = index < 0 || !rows.length ? -1 : (index + rows.length) % rows.length;
    rows.forEach((row, place) => row.setAttribute("aria-selected", String(place === at)));
    if (at < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", rows[at].id);
  }
  const go = (row) => location.assign(`/go?${new URLSearchParams({ to: place, title: row.dataset.title })}`);

  function option(item, index, typed) {
    const name = element("span", { dir: "auto" });
    if (input.dataset.lang) name.lang = input.dataset.lang;
    const shown = item.display_title;
    name.append(...marked(shown, typed));
    const row = element("li", { role: "option", id: `${list.id}-${index}`, "aria-selected": "false" }, name, element("span", { class: "n" }, number.format(item.in_clicks)));
    row.dataset.title = item.title;
    row.addEventListener("pointerdown", (event) => event.preventDefault()); // focus stays in the field
    row.addEventListener("click", () => go(row));
    return row;
  }

  // The words of a title whose beginnings were typed. Folding may change lengths, so only what agrees letter by letter
  // is marked.
  function marked(shown, typed) {
    const words = typed.split(/\s+/).filter(Boolean);
    return shown.split(/(?<=[\s(/-])/u).flatMap((part) => {
      const word = words.find((one) => part.slice(0, one.length).localeCompare(one, "en", { sensitivity: "base" }) === 0);
      return word ? [element("mark", {}, part.slice(0, word.length)), part.slice(word.length)] : [part];
    });
  }

  async function ask() {
    const typed = input.value.trim();
    asking?.abort();
    if (!typed) return open(false);
    asking = new AbortController();
    try {
      const query = new URLSearchParams({ q: typed, limit: ROWS });
      const response = await fetch(`${form.dataset.suggest}?${query}`, { signal: asking.signal });
      if (!response.ok) return open(false);
      const { items } = await response.json();
      list.replaceChildren(...items.map((item, index) => option(item, index, typed)));
      all.href = `/search?${new URLSearchParams({ q: typed, in: place, all: 1 })}`;
      told.textContent = items.length ? `${items.length} suggestions` : "No title has such words";
      pick(-1);
      open(items.length > 0 && document.activeElement === input);
    } catch (error) {
      if (error.name !== "AbortError") open(false); // the form still searches
    }
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!list.children.length) return;
      open(true);
      pick(event.key === "ArrowDown" ? at + 1 : at < 0 ? options().length - 1 : at - 1);
      event.preventDefault();
    } else if (event.key === "Escape" && !box.hidden) {
      open(false);
      event.preventDefault();
    } else if (event.key === "Enter" && !box.hidden && at >= 0) {
      go(options()[at]);
      event.preventDefault();
    }
  });
  all.addEventListener("pointerdown", (event) => event.preventDefault());
  input.addEventListener("blur", () => open(false));
  open(false);
}

for (const form of document.querySelectorAll("form[data-suggest]")) suggest(form);
