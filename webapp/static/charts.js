// Draws the flow chart from the ECharts option in <script type="application/json">. The option says what (nodes with
// name, title, value, side, kind, href); this file says how it looks here and now: theme, width, fonts. ECharts' own
// tooltip writes markup and inline styles, which the CSP forbids; the one here is a plain element that gets text only.
/* global echarts */
const NARROW = 720;
const NODE_WIDTH = 8;
const number = new Intl.NumberFormat("en");
const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)}\u202f%`;
const plain = (text) => text.replaceAll("{", "\uff5b").replaceAll("|", "\uff5c"); // titles are not label templates
const sum = (nodes) => nodes.reduce((total, node) => total + node.value, 0);

const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);
function token(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
const fade = (rgb, alpha) => rgb.replace(/^rgba?\(([^,]+,[^,]+,[^,)]+).*/, `rgba($1, ${alpha})`);
const family = () => getComputedStyle(document.body).fontFamily;

const pen = document.createElement("canvas").getContext("2d");
function textWidth(text, font) {
  pen.font = font;
  return pen.measureText(text).width;
}
function cut(text, width, font) {
  if (textWidth(text, font) <= width) return text;
  const letters = [...text];
  while (letters.length > 1 && textWidth(`${letters.join("")}…`, font) > width) letters.pop();
  return `${letters.join("").trimEnd()}…`;
}

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.append(document.createElement("b"), document.createElement("span"));
document.body.append(tip);
function follow(event) {
  if (tip.hidden) return;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const below = event.clientY + height + 24 <= innerHeight;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
  tip.style.top = `${below ? event.clientY + 16 : event.clientY - height - 10}px`;
}
addEventListener("mousemove", follow, { passive: true });

// Keep the largest articles of a side and fold the others into the side's rest.
function fold(nodes, side, keep, href) {
  const mine = nodes.filter((node) => node.side === side);
  const articles = mine.filter((node) => node.kind === "article");
  const extra = articles.slice(keep);
  if (!extra.length) return mine;
  const given = mine.find((node) => node.kind === "rest");
  const count = (given?.count ?? 0) + extra.length;
  const noun = side === "in" ? "source" : "destination";
  const rest = {
    href,
    ...given,
    name: `${side}:rest`,
    title: `${number.format(count)} more ${noun}${count === 1 ? "" : "s"}`,
    value: (given?.value ?? 0) + sum(extra),
    base: extra[0].base,
    side,
    kind: "rest",
    count,
  };
  return [...articles.slice(0, keep), rest, ...mine.filter((node) => !["article", "rest"].includes(node.kind))];
}

// One scale for all columns; each is centred on the height.
function place(columns, total, room, gap) {
  const scale = Math.min(...columns.map((nodes) => (room - gap * Math.max(0, nodes.length - 1)) / total));
  for (const nodes of columns) {
    let y = (room - sum(nodes) * scale - gap * Math.max(0, nodes.length - 1)) / 2;
    for (const node of nodes) {
      node.tall = node.value * scale;
      node.localY = y / room;
      node.above = y + node.tall / 2 < room / 2;
      y += node.tall + gap;
    }
  }
}

// Wide: names outside the flow. Narrow: names on the flow, with a halo in the paper's colour.
function label(node, look) {
  const { narrow, size, font, inner, sides } = look;
  const value = number.format(node.value);
  if (node.side === "centre") {
    if (narrow) return { show: false };
    const formatter = cut(plain(node.title), inner * 0.7, `600 ${font}`);
    return { position: "top", distance: 8, align: "center", fontWeight: 600, color: look.ink, formatter };
  }
  const twoLines = narrow && node.tall >= 32;
  const beside = narrow ? inner / 2 - 28 - textWidth(value, `600 ${font}`) : sides[node.side] - 16 - textWidth(`  ${value}`, font);
  const title = cut(plain(node.title), twoLines ? inner / 2 - 24 : beside, font);
  const before = narrow ? node.side === "out" : node.side === "in";
  // A thin flow bends away from the side that its name is put on.
  const shift = narrow && node.tall < 18 ? (node.above ? -1 : 1) * (node.tall / 2 + 9) : 0;
  const style = { fontSize: size, lineHeight: 16, fontFamily: family() };
  if (narrow) Object.assign(style, { textBorderColor: look.paper, textBorderWidth: 3 });
  return {
    position: before ? "left" : "right",
    align: before ? "right" : "left",
    distance: shift ? -NODE_WIDTH : 8,
    offset: [0, shift],
    formatter: twoLines ? `{v|${value}}\n{t|${title}}` : before ? `{t|${title}}  {v|${value}}` : `{v|${value}}  {t|${title}}`,
    rich: {
      t: { ...style, color: look.ink },
      v: { ...style, color: narrow ? look.ink : look.ink2, fontWeight: narrow ? 600 : 400 },
    },
  };
}

function draw(box) {
  const { clientWidth: width, clientHeight: height } = box;
  if (!width) return;
  const chart = echarts.getInstanceByDom(box) ?? echarts.init(box, null, { renderer: "canvas" });
  chart.resize();
  const given = JSON.parse(document.getElementById(box.dataset.chart).textContent).series[0].data;
  const narrow = width < NARROW;
  const view = document.querySelector(`[name="${box.id}-view"]:checked`)?.value ?? "all";
  const wanted = given.filter((node) => view === "all" || ["article", "rest"].includes(node.kind));
  const left = fold(wanted, "in", narrow ? 6 : Infinity, box.dataset.allIn);
  const right = fold(wanted, "out", narrow ? 7 : Infinity, box.dataset.allOut);
  const total = Math.max(sum(left), sum(right));
  const centre = { ...given.find((node) => node.side === "centre"), value: total };

  const size = narrow ? 12 : 13;
  const font = `${size}px ${family()}`;
  const [gap, top, bottom] = narrow ? [24, 20, 24] : [15, 30, 10];
  const nameWidth = (node) => textWidth(`${plain(node.title)}  ${number.format(node.value)}`, font);
  const margin = (nodes) => (narrow ? 0 : Math.min(width * 0.28, Math.ceil(Math.max(0, ...nodes.map(nameWidth))) + 18));
  const sides = { in: margin(left), out: margin(right) };
  const look = { narrow, size, font, sides, inner: width - sides.in - sides.out };
  Object.assign(look, { ink: token("--ink"), ink2: token("--ink-2"), paper: token("--bg") });
  place([left, [centre], right], total, height - top - bottom, gap);

  const data = [...left, centre, ...right].map((node) => ({
    ...node,
    depth: { in: 0, centre: 1, out: 2 }[node.side],
    itemStyle: { color: token(node.side === "centre" ? "--ink" : `--k-${node.kind}`), borderWidth: 0 },
    label: label(node, look),
  }));
  const links = data.filter((node) => node.side !== "centre").map((node) => {
    const ends = node.side === "in" ? [node.name, centre.name] : [centre.name, node.name];
    const hue = node.itemStyle.color;
    // Pale fill, full-strength outline: the outline has the contrast (>= 3:1) and keeps a thin flow visible.
    const lineStyle = { color: fade(hue, 0.2), opacity: 1, borderColor: hue, borderWidth: 1, curveness: 0.55 };
    return { source: ends[0], target: ends[1], value: node.value, lineStyle };
  });
  chart.setOption(
    {
      animation: false,
      textStyle: { fontFamily: family() },
      series: [
        {
          type: "sankey",
          left: sides.in,
          right: sides.out,
          top,
          bottom,
          nodeWidth: NODE_WIDTH,
          nodeGap: gap,
          nodeAlign: "justify",
          layoutIterations: 0,
          draggable: false,
          emphasis: { focus: "adjacency", lineStyle: { opacity: 1 } },
          blur: { itemStyle: { opacity: 0.35 }, lineStyle: { opacity: 0.25 }, label: { opacity: 0.5 } },
          data,
          links,
        },
      ],
    },
    true,
  );
  for (const [name, nodes] of [["in", left], ["out", right.filter((node) => node.kind !== "end")]]) {
    const words = document.querySelector(`[data-flow-total="${box.id}-${name}"]`);
    if (words) words.textContent = `${number.format(sum(nodes))} clicks`;
  }
  listen(chart, new Map(data.map((node) => [node.name, node])), centre.name);
}

function listen(chart, nodes, centre) {
  for (const event of ["mouseover", "mouseout", "click"]) chart.off(event);
  const found = ({ dataType, data }) => nodes.get(dataType === "edge" ? (data.source === centre ? data.target : data.source) : data.name);
  chart.on("mouseover", (given) => {
    const node = found(given);
    if (!node || node.side === "centre") return;
    const whole = node.side === "in" || node.kind === "end" ? "in" : "out";
    tip.firstChild.textContent = node.title;
    tip.lastChild.textContent = `${number.format(node.value)} clicks, ${percent(node.value, node.base)} of all clicks ${whole}`;
    tip.hidden = false;
    follow(given.event.event);
  });
  chart.on("mouseout", () => {
    tip.hidden = true;
  });
  chart.on("click", (given) => {
    const href = found(given)?.href;
    if (href) location.assign(href);
  });
}

const boxes = [...document.querySelectorAll("[data-chart]")];
const drawAll = () => boxes.forEach(draw);
if (window.echarts && boxes.length) {
  addEventListener("themechange", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => draw(target)));
  boxes.forEach((box) => watch.observe(box));
  for (const radio of document.querySelectorAll('.seg input[type="radio"]')) radio.addEventListener("change", drawAll);
}
