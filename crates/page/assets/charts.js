// What the pages do with uPlot alike: colours, numbers, axes, the switch between light and dark. Texts go in as text nodes or on
// a canvas, never as markup.
const charts = (() => {
  "use strict";

  const root = document.documentElement;

  // A canvas does not know light-dark(): an element resolves it, once a theme.
  const probe = document.getElementById("theme");
  let colours = new Map();
  const colour = (name) => {
    if (!colours.has(name)) {
      probe.style.color = `var(--${name})`;
      colours.set(name, getComputedStyle(probe).color);
      probe.style.color = "";
    }
    return colours.get(name);
  };

  // Names differ at their ends: the middle goes.
  const short = (text, most) =>
    text.length > most ? text.slice(0, Math.ceil(most / 2) - 1) + "…" + text.slice(-Math.floor(most / 2)) : text;
  const narrow = () => window.innerWidth < 560;

  // 1234567 -> 1.23M: ticks of an axis have to be short.
  function compact(value) {
    const size = Math.abs(value);
    if (size >= 1e6) return +(value / 1e6).toPrecision(3) + "M";
    if (size >= 1e3) return +(value / 1e3).toPrecision(3) + "k";
    return String(+value.toPrecision(3));
  }

  function number(value, unit) {
    if (value == null) return "–";
    const digits = Math.abs(value) >= 100 ? 0 : 2;
    return value.toLocaleString("en", { maximumFractionDigits: digits }) + (unit ? " " + unit : "");
  }

  // Height of an axis title; uPlot adds it to an axis' size.
  const LABEL = 16;
  const axis = (more) => ({
    stroke: colour("muted"),
    font: "11px system-ui, sans-serif",
    labelFont: "11px system-ui, sans-serif",
    labelSize: LABEL,
    grid: { stroke: colour("grid"), width: 1 },
    ticks: { stroke: colour("grid"), width: 1, size: 4 },
    ...more,
  });

  // auto -> the other one -> auto: two states are enough when the first is the reader's own.
  function themes(draw) {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const name = () => {
      colours = new Map();
      button.textContent = dark() ? "Light" : "Dark";
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      name();
      draw();
    });
    system.addEventListener("change", () => {
      name();
      draw();
    });
    name();
  }

  return { root, colour, short, narrow, compact, number, LABEL, axis, themes };
})();
