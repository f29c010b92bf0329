// Draws the charts of a report with uPlot. What is drawn is decided where the page is written: this only maps the
// page's data block to uPlot's options. Texts go in as text nodes or on a canvas, never as markup.
(() => {
  "use strict";

  const { root, colour, short, narrow, compact, number, LABEL, axis, themes } = charts;
  const data = JSON.parse(document.getElementById("data").textContent);
  const group = uPlot.sync("page");
  let drawn = [];

  // Phases as shades behind the lines, moments as dashed lines. The first chart names them.
  function marks(chart, first) {
    const phases = chart.shade ? data.phases : [];
    const moments = chart.shade ? data.moments : [];
    const ratio = uPlot.pxRatio;
    const at = (u, x) => Math.min(Math.max(u.valToPos(x, "x", true), u.bbox.left), u.bbox.left + u.bbox.width);
    const seen = (u, x) => x >= u.scales.x.min && x <= u.scales.x.max;
    return {
      drawClear: (u) => {
        const { top, height } = u.bbox;
        for (const phase of phases) {
          const from = at(u, phase.from), to = at(u, phase.to);
          u.ctx.fillStyle = colour("shade-" + phase.tone);
          u.ctx.fillRect(from, top, to - from, height);
          u.ctx.font = 11 * ratio + "px system-ui, sans-serif";
          if (first && to - from > u.ctx.measureText(phase.label).width + 6 * ratio) {
            u.ctx.fillStyle = colour("muted");
            u.ctx.textAlign = "left";
            u.ctx.textBaseline = "bottom";
            u.ctx.fillText(phase.label, from + 4 * ratio, top - 3 * ratio);
          }
        }
      },
      draw: (u) => {
        const { top, height } = u.bbox;
        for (const moment of moments.filter((moment) => seen(u, moment.at))) {
          const x = at(u, moment.at);
          u.ctx.save();
          u.ctx.strokeStyle = colour("mark");
          u.ctx.lineWidth = ratio;
          u.ctx.setLineDash([4 * ratio, 3 * ratio]);
          u.ctx.beginPath();
          u.ctx.moveTo(x, top);
          u.ctx.lineTo(x, top + height);
          u.ctx.stroke();
          u.ctx.restore();
        }
      },
    };
  }

  // Charts below each other share one axis width too: rows of bands need the most.
  const letters = (rows) => Math.min(Math.max(...rows.map((name) => name.length), 4), narrow() ? 13 : 30);
  const gutter = (rows) => 18 + 7 * letters(rows);
  const timeline = data.charts.find((chart) => chart.kind === "bands" && chart.shade);
  const yAxis = (chart, place) =>
    timeline && chart.shade && !place.closest(".pair") ? Math.max(gutter(timeline.rows), 60) : 60;

  const clock = (u, splits) =>
    splits.map((ms) => new Date(ms).toISOString().slice(11, 19));

  // A logarithmic axis has splits without a label.
  const labels = (u, splits) => splits.map((value) => (value == null ? "" : compact(value)));

  function xAxis(chart) {
    const wall = chart.wall ? { values: clock, space: 80 } : { values: labels };
    return axis({ label: chart.x_title, size: 24, space: 60, ...wall });
  }

  // A zoom asks for less than the data; everything else is the whole of the chart's own range.
  function xScale(chart) {
    const range = (u, low, high) => {
      const times = u.data[0];
      const whole = low <= times[0] && high >= times[times.length - 1];
      const [from, to] = whole && chart.range ? chart.range : [low, high];
      return from < to ? [from, to] : [from, from + 1];
    };
    return { time: false, distr: chart.x_log ? 3 : 1, range };
  }

  function shared(chart, place, first) {
    return {
      width: Math.max(place.clientWidth, 200),
      height: chart.height,
      padding: [first && chart.shade ? 18 : 8, 14, 0, 0],
      cursor: chart.sync ? { sync: { key: group.key, scales: ["x", null] }, y: false } : { y: false },
      hooks: Object.fromEntries(Object.entries(marks(chart, first)).map(([name, hook]) => [name, [hook]])),
    };
  }

  // Tables with times of their own share one axis; a missing value stays a gap.
  const joined = (tables) => (tables.length === 1 ? tables[0] : uPlot.join(tables));

  function lines(chart, place, first) {
    const base = shared(chart, place, first);
    const series = chart.series.map((series) => ({
      label: series.label,
      stroke: colour(series.role),
      width: series.thin ? 1 : 1.75,
      dash: series.dashed ? [5, 4] : undefined,
      fill: series.filled ? colour(series.role + "-soft") : undefined,
      points: { show: false },
      value: (u, value) => number(value, chart.unit),
      paths: series.steps ? uPlot.paths.stepped({ align: -1 }) : undefined,
    }));
    const range = chart.log
      ? undefined
      : (u, low, high) => [0, Math.max(chart.top ?? 0, (high ?? 0) * 1.06, chart.least ?? 1)];
    const options = {
      ...base,
      series: [{ label: "at", value: (u, value) => number(value, chart.shade ? "s" : "") }, ...series],
      scales: { x: xScale(chart), y: chart.log ? { distr: 3 } : { range } },
      axes: [
        xAxis(chart),
        axis({ label: chart.y_title, size: yAxis(chart, place) - LABEL, values: labels }),
      ],
    };
    return new uPlot(options, joined(chart.tables), place);
  }

  // Rows of coloured intervals: states of breakers, parts of a recovery, runs of a suite. Each boundary is there
  // twice, as the end of what was and the begin of what is, so that an area of uPlot has upright sides.
  function bands(chart, place, first) {
    const rows = chart.rows.length;
    const times = [...new Set(chart.segments.flatMap(([, from, to]) => [from, to]))].sort((a, b) => a - b);
    const index = new Map(times.map((time, n) => [time, n]));
    const xs = times.flatMap((time) => [time, time]);
    const columns = new Map();
    for (const [row, from, to, tone] of chart.segments) {
      const key = row * chart.tones.length + tone;
      if (!columns.has(key)) columns.set(key, new Array(xs.length).fill(null));
      const column = columns.get(key);
      for (let n = 2 * index.get(from) + 1; n <= 2 * index.get(to); n++) column[n] = rows - row - 0.18;
    }
    const keys = [...columns.keys()];
    const row = (key) => Math.floor(key / chart.tones.length);
    const base = shared(chart, place, first);
    const readout = document.createElement("p");
    readout.className = "readout";
    const say = (u) => {
      const x = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null;
      const now = chart.segments.filter(([, from, to]) => x != null && from <= x && x < to);
      const said = now.map(([at, , , tone, text]) => chart.rows[at] + ": " + (text ?? chart.tones[tone].label));
      const when = chart.wall ? (x == null ? "" : clock(null, [x])[0]) : number(x, chart.unit);
      readout.textContent = said.length ? when + " · " + said.join(" · ") : chart.hint;
    };
    const options = {
      ...base,
      legend: { show: false },
      cursor: { ...base.cursor, points: { show: false } },
      hooks: { ...base.hooks, setCursor: [say] },
      series: [{}].concat(
        keys.map((key) => ({
          fill: colour(chart.tones[key % chart.tones.length].role),
          width: 0,
          points: { show: false },
          fillTo: () => rows - row(key) - 0.82,
        })),
      ),
      scales: { x: xScale(chart), y: { range: [0, rows] } },
      axes: [
        xAxis(chart),
        axis({
          size: chart.shade ? yAxis(chart, place) : gutter(chart.rows),
          grid: { show: false },
          ticks: { show: false },
          splits: () => chart.rows.map((_, n) => n + 0.5),
          filter: (u, splits) => splits,
          values: () => chart.rows.map((name) => short(name, letters(chart.rows))).reverse(),
        }),
      ],
    };
    const plot = new uPlot(options, [xs, ...keys.map((key) => columns.get(key))], place);
    say(plot);
    const key = document.createElement("p");
    key.className = "key";
    for (const tone of chart.tones) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour(tone.role);
      key.append(swatch, tone.label + " ");
    }
    if (chart.tones.length > 1) place.append(key);
    place.append(readout);
    return plot;
  }

  const nothing = (chart) =>
    chart.kind === "bands"
      ? chart.segments.length === 0
      : chart.tables.every((table) => table.slice(1).every((column) => column.every((value) => value == null)));

  function draw() {
    drawn.forEach(({ plot, place }) => {
      plot.destroy();
      place.replaceChildren();
    });
    let first = true;
    drawn = data.charts.flatMap((chart) => {
      const place = document.querySelector(`[data-chart="${chart.id}"]`);
      if (!place) return [];
      if (nothing(chart)) {
        place.textContent = "Nothing was observed.";
        return [];
      }
      const plot = (chart.kind === "bands" ? bands : lines)(chart, place, first);
      first = first && !chart.shade;
      if (chart.sync) group.sub(plot);
      return [{ plot, place, chart }];
    });
    root.dataset.drawn = String(drawn.length);
  }

  function fit() {
    for (const { plot, place, chart } of drawn) {
      const width = Math.max(place.clientWidth, 200);
      if (width !== plot.width) plot.setSize({ width, height: chart.height });
    }
  }

  themes(draw);
  draw();
  addEventListener("resize", fit);
  addEventListener("beforeprint", fit);
})();
