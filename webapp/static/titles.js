// Suggestions for fields that take a title: the browser's own list of options. The forms work without.
const WAIT_MS = 120;
const ROWS = 8;

function suggest(input, address) {
  const list = document.createElement("datalist");
  list.id = `${input.id}-titles`;
  input.after(list);
  input.setAttribute("list", list.id);
  let timer;
  let asking;

  async function ask() {
    asking?.abort();
    const typed = input.value.trim();
    if (!typed) return list.replaceChildren();
    asking = new AbortController();
    try {
      const response = await fetch(`${address}?${new URLSearchParams({ q: typed, limit: ROWS })}`, { signal: asking.signal });
      if (!response.ok) return;
      const { items } = await response.json();
      list.replaceChildren(...items.map((item) => Object.assign(document.createElement("option"), { value: item.display_title })));
    } catch (error) {
      if (error.name !== "AbortError") list.replaceChildren(); // the form still takes what is typed
    }
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
}

for (const form of document.querySelectorAll("form[data-titles]")) {
  for (const input of form.querySelectorAll("input[id]")) suggest(input, form.dataset.titles);
}
