// Draws what its stream tells. Messages only fill columns and mark charts; one animation frame later the marked ones that can be seen
// are drawn, a few milliseconds' worth in each frame, so that the page stays smooth with an hour on it. Texts go in as text nodes
// or on a canvas, never as markup.
(() => {
  "use strict";

  const { colour, short, narrow, compact, number, LABEL, axis, themes } = charts;
  const page = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const main = document.querySelector("main");

  // Time of one frame that drawing may take, ms.
  const FRAME_MS = 6;
  // Silence after which the connection is called lost: the server says something each second.
  const SILENCE_MS = 5000;
  const RETRY_MS = 2000;
  // Numbers of this age are no longer those of now.
  const STALE_S = 3;
  const BREAKERS = ["closed", "half-open", "open"];
  const BREAKER_ROLES = ["closed-band", "amber-band", "open-band"];
  // Words on a band.
  const ON = { "closed-band": "ink", "unknown-band": "ink", "amber-band": "on-amber" };
  const PHASES = {
    idle: ["idle", "unknown-band", "void"],
    stabilization: ["stabilization", "blue", "before"],
    testing: ["testing, fault on", "open-band", "fault"],
    recovery: ["recovery", "green", "after"],
  };
  const LINE_ROLES = ["orange", "blue", "amber", "pink", "green", "sky", "grey", "black"];

  // ---- what is known

  // Columns of points; those of one name are as long as `t`.
  function columns() {
    const named = new Map();
    const t = [];
    const column = (name) => {
      if (!named.has(name)) named.set(name, new Array(t.length).fill(null));
      return named.get(name);
    };
    return { t, column, named };
  }

  let fine, coarse, state, instance, classes, seconds = 120, job = 1;
  function forget() {
    fine = columns();
    coarse = columns();
    classes = [];
    state = { servers: [], spans: [], faults: [], phase: "idle" };
  }

  function add(table, most, point) {
    const row = { offered: point.offered, ok: point.ok };
    ["p50", "p90", "p99", "p999"].forEach((name, n) => (row[name] = point.latency[n]));
    ["declared", "proxy", "canary"].forEach((name, n) => (row[name] = point.dose[n] == null ? null : point.dose[n] * 100));
    for (const [name, rate] of Object.entries(point.errors)) {
      row["error " + name] = rate;
      if (!classes.includes(name)) {
        classes.push(name);
        stale.add("errors");
      }
    }
    point.servers.forEach(([breaker, total, active, idle, waiting], n) => {
      Object.assign(row, { ["breaker " + n]: breaker, ["total " + n]: total, ["active " + n]: active, ["idle " + n]: idle, ["waiting " + n]: waiting });
    });
    // What was missed is a gap, not a straight line.
    if (table.t.length && point.t - table.t.at(-1) > 2) {
      table.t.push(table.t.at(-1) + 0.001);
      for (const column of table.named.values()) column.push(null);
    }
    for (const name of Object.keys(row)) table.column(name);
    table.t.push(point.t);
    for (const [name, column] of table.named) column.push(row[name] ?? (name.startsWith("error ") && point.ok != null ? 0 : null));
    // In pieces: taking one off the front of each column for each point would move them all each time.
    if (table.t.length > most * 1.1) {
      const many = table.t.length - most;
      table.t.splice(0, many);
      for (const column of table.named.values()) column.splice(0, many);
    }
  }

  const shown = () => (seconds <= page.fine_s * page.fine_points ? fine : coarse);
  // The latest number; none when it is old.
  const last = (name) => (until - (fine.t.at(-1) ?? 0) > STALE_S ? null : fine.named.get(name)?.at(-1));

  // ---- the axis of time: the server's clock, as far as it has been told

  let newest = 0, toldAt = 0;
  const now = () => newest + (newest ? Math.min((performance.now() - toldAt) / 1000, 3600) : 0);
  let until = 0;
  // A run that is shorter than the window begins at its left edge.
  const LEAST_S = 10;
  function since() {
    const begun = state.spans.find((span) => span.phase !== "idle")?.from;
    const oldest = Math.min(begun ?? Infinity, fine.t[0] ?? Infinity, coarse.t[0] ?? Infinity);
    return Math.max(until - seconds, Math.min(oldest, until - LEAST_S));
  }
  const xRange = () => [since(), until];

  const clock = (u, splits) =>
    splits.map((s) => new Date(s * 1000).toLocaleTimeString("en-GB", seconds < 3600 ? {} : { hour: "2-digit", minute: "2-digit" }));

  const gutter = () => Math.max(60, 18 + 7 * letters());
  const letters = () => Math.min(Math.max(4, ...state.servers.map((name) => name.length)), narrow() ? 11 : 24);

  const base = (place, height) => ({
    width: Math.max(place.clientWidth, 200),
    height,
    padding: [8, 14, 0, 0],
    legend: { live: true },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "live", scales: ["x", null] } },
    scales: { x: { time: true, range: xRange } },
  });
  const xAxis = () => axis({ values: clock, size: 24, space: 80 });

  // The phase with the fault as a shade behind every chart.
  function shade(u) {
    const { left, top, width, height } = u.bbox;
    const at = (x) => Math.min(Math.max(u.valToPos(x, "x", true), left), left + width);
    state.spans.forEach((span, n) => {
      if (span.phase !== "testing") return;
      const from = at(span.from), to = at(state.spans[n + 1]?.from ?? until);
      u.ctx.fillStyle = colour("shade-fault");
      u.ctx.fillRect(from, top, to - from, height);
    });
  }

  // ---- charts

  function lines(place, { height = 200, series, title, unit, log, least = 1, top }) {
    const options = base(place, height);
    options.hooks = { drawClear: [shade] };
    options.scales.y = log ? { distr: 3 } : { range: (u, low, high) => [0, top ?? Math.max((high ?? 0) * 1.06, least)] };
    options.series = [{ label: "at", value: (u, s) => (s == null ? "" : clock(u, [s])[0]) }].concat(
      series.map((line) => ({
        label: line.label,
        stroke: colour(line.role),
        width: line.thin ? 1 : 1.75,
        dash: line.dashed ? [5, 4] : undefined,
        fill: line.filled ? colour(line.role + "-soft") : undefined,
        points: { show: false },
        value: (u, value) => (u.cursor.idx == null ? "" : number(value, unit)),
      })),
    );
    options.axes = [
      xAxis(),
      axis({ label: title, size: (place.closest(".pair") ? 60 : gutter()) - LABEL, values: (u, splits) => splits.map((v) => (v == null ? "" : compact(v))) }),
    ];
    const plot = new uPlot(options, [[], ...series.map(() => [])], place);
    return {
      plot,
      height,
      draw() {
        const table = shown();
        // One point before the left edge, so that lines come in from outside.
        let from = table.t.length;
        while (from > 0 && table.t[from] >= until - seconds) from--;
        if (from === table.t.length && from > 0) from--;
        while (from > 0 && table.t[from - 1] >= until - seconds) from--;
        const part = (column) => (from > 0 ? column.slice(from) : column);
        plot.setData([part(table.t), ...series.map((line) => part(table.column(line.column)))]);
      },
    };
  }

  // Rows of coloured intervals; `segments` gives [row, from, to, role, text].
  function bands(place, rows, segments, key) {
    const options = base(place, 44 + 28 * Math.max(rows.length, 1));
    options.legend = { show: false };
    options.cursor.points = { show: false };
    options.scales.y = { range: [0, Math.max(rows.length, 1)] };
    options.series = [{}, { width: 0, points: { show: false } }];
    options.axes = [
      xAxis(),
      axis({
        size: gutter(),
        grid: { show: false },
        ticks: { show: false },
        splits: () => rows.map((_, n) => n + 0.5),
        filter: (u, splits) => splits,
        values: () => rows.map((name) => short(name, letters())).reverse(),
      }),
    ];
    const readout = document.createElement("p");
    readout.className = "readout";
    const hint = "Point at the chart to read it.";
    const say = (u) => {
      const x = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null;
      const there = x == null ? [] : [...segments()].filter(([, from, to]) => from <= x && x < to);
      const said = there.map(([row, , , , text]) => (rows.length > 1 || key ? rows[row] + ": " : "") + text);
      const text = said.length ? clock(u, [x])[0] + " · " + said.join(" · ") : hint;
      if (readout.textContent !== text) readout.textContent = text;
    };
    options.hooks = {
      setCursor: [say],
      draw: [
        (u) => {
          const { left, top, width, height } = u.bbox;
          const at = (x) => Math.min(Math.max(u.valToPos(x, "x", true), left), left + width);
          const row = height / Math.max(rows.length, 1);
          u.ctx.save();
          u.ctx.font = 11 * uPlot.pxRatio + "px system-ui, sans-serif";
          u.ctx.textBaseline = "middle";
          u.ctx.textAlign = "left";
          for (const [n, from, to, role, text] of segments()) {
            const x = at(from), w = at(to) - x;
            if (w <= 0) continue;
            u.ctx.fillStyle = colour(role);
            u.ctx.fillRect(x, top + row * (n + 0.18), w, row * 0.64);
            // Words where there is room: the colour alone says nothing to some.
            if (w > u.ctx.measureText(text).width + 10 * uPlot.pxRatio) {
              u.ctx.fillStyle = colour(ON[role] ?? "on-band");
              u.ctx.fillText(text, x + 5 * uPlot.pxRatio, top + row * (n + 0.5));
            }
          }
          u.ctx.restore();
        },
      ],
    };
    const plot = new uPlot(options, [[], []], place);
    if (key) {
      const names = document.createElement("p");
      names.className = "key";
      for (const [role, label] of key) {
        const swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = colour(role);
        names.append(swatch, label + " ");
      }
      place.append(names);
    }
    place.append(readout);
    return { plot, height: options.height, draw: () => plot.setData([xRange(), [null, null]]) };
  }

  function* phaseSegments() {
    for (let n = 0; n < state.spans.length; n++) {
      const { from, phase, scenario } = state.spans[n];
      const to = state.spans[n + 1]?.from ?? until;
      if (to < until - seconds) continue;
      const [label, role] = PHASES[phase] ?? PHASES.idle;
      yield [0, from, to, role, phase === "idle" ? label : label + " · " + scenario];
    }
  }

  // Neighbours of one state are one band: a few rectangles, however many points.
  function* breakerSegments() {
    const { t } = shown();
    const step = shown() === fine ? page.fine_s : page.coarse_s;
    const first = t.findIndex((at) => at >= until - seconds);
    if (first < 0) return;
    for (let row = 0; row < state.servers.length; row++) {
      const column = shown().named.get("breaker " + row);
      if (!column) continue;
      let from = null, what = null;
      for (let n = first; n <= t.length; n++) {
        const value = n < t.length ? column[n] : undefined;
        if (value === what) continue;
        const begin = n < t.length ? t[n] - step : t[n - 1];
        if (what != null) yield [row, from, Math.max(begin, from), BREAKER_ROLES[what], BREAKERS[what]];
        [from, what] = [begin, value];
      }
    }
  }

  const charted = new Map();
  const stale = new Set();
  const visible = new Set();
  const looking = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target.dataset.chart);
      else visible.delete(target.dataset.chart);
      if (isIntersecting) mark(target.dataset.chart);
    }
  }, { rootMargin: "100px" });

  function make(id, place) {
    if (id === "phases") return bands(place, ["phase"], phaseSegments);
    if (id === "breakers") return bands(place, state.servers, breakerSegments, BREAKER_ROLES.map((role, n) => [role, BREAKERS[n]]));
    if (id === "goodput")
      return lines(place, {
        title: "ops per second",
        unit: "ops/s",
        series: [
          { column: "ok", label: "succeeded", role: "blue", filled: true },
          { column: "offered", label: "offered", role: "grey", thin: true, dashed: true },
        ],
      });
    if (id === "errors") {
      const some = classes.map((name, n) => ({ column: "error " + name, label: name.replaceAll("_", " "), role: LINE_ROLES[n % LINE_ROLES.length] }));
      return lines(place, { title: "failed ops per second", unit: "ops/s", series: some.length ? some : [{ column: "none", label: "no failed op", role: "grey" }] });
    }
    if (id === "latency")
      return lines(place, {
        title: "latency, ms (log)",
        unit: "ms",
        log: true,
        series: [["p50", "p50", "blue"], ["p90", "p90", "amber"], ["p99", "p99", "orange"], ["p999", "p99.9", "pink"]].map(([column, label, role]) => ({ column, label, role, thin: column === "p999" })),
      });
    if (id === "dose")
      return lines(place, {
        title: "share, %",
        unit: "%",
        height: 150,
        top: 105,
        series: [
          { column: "proxy", label: "touched by the proxy", role: "orange", filled: true },
          { column: "canary", label: "canaries that suffered", role: "green", thin: true },
          { column: "declared", label: "declared", role: "black", dashed: true },
        ],
      });
    const n = id.slice("pool-".length);
    return lines(place, {
      title: "connections",
      height: 150,
      series: [["total", "total", "grey"], ["active", "active", "blue"], ["idle", "idle", "green"], ["waiting", "waiting ops", "orange"]].map(([column, label, role]) => ({ column: column + " " + n, label, role, thin: column === "total", dashed: column === "total" })),
    });
  }

  function rebuild(id) {
    const place = document.querySelector(`[data-chart="${CSS.escape(id)}"]`);
    charted.get(id)?.plot.destroy();
    place.replaceChildren();
    charted.set(id, make(id, place));
    stale.delete(id);
  }

  function pools() {
    looking.disconnect();
    for (const id of [...charted.keys()].filter((id) => id.startsWith("pool-"))) {
      charted.get(id).plot.destroy();
      charted.delete(id);
    }
    $("pools").replaceChildren(
      ...state.servers.map((name, n) => {
        const figure = element("figure");
        const place = element("div", { className: "plot" });
        place.dataset.chart = "pool-" + n;
        const caption = element("figcaption");
        caption.append(element("h3", { textContent: name }));
        figure.append(caption, place);
        return figure;
      }),
    );
    for (const place of document.querySelectorAll("[data-chart]")) {
      stale.add(place.dataset.chart);
      looking.observe(place);
    }
    $("states").replaceChildren(
      ...state.servers.map((name) => {
        const item = element("li");
        item.append(name + " ", element("b", { textContent: "–" }));
        return item;
      }),
    );
    markAll();
  }

  function element(name, properties = {}) {
    return Object.assign(document.createElement(name), properties);
  }

  // ---- drawing, a few milliseconds in a frame

  const marked = new Set();
  let asked = false;
  function mark(id) {
    marked.add(id);
    if (!asked) {
      asked = true;
      requestAnimationFrame(frame);
    }
  }
  function markAll() {
    for (const place of document.querySelectorAll("[data-chart]")) mark(place.dataset.chart);
    mark("numbers");
  }

  function frame() {
    asked = false;
    until = now();
    // Nothing is known: no axis of time, no numbers.
    if (!until) return marked.clear();
    const began = performance.now();
    for (const id of [...marked]) {
      marked.delete(id);
      if (id === "numbers") numbers();
      else if (visible.has(id)) {
        if (stale.has(id) || !charted.has(id)) rebuild(id);
        charted.get(id).draw();
      }
      if (performance.now() - began > FRAME_MS) break;
    }
    if (marked.size) mark([...marked][0]);
  }

  function set(id, text) {
    const place = $(id);
    if (place && place.textContent !== text) place.textContent = text;
  }

  function numbers() {
    const rate = (value) => (value == null ? "–" : Math.round(value).toLocaleString("en") + "/s");
    const failed = classes.reduce((sum, name) => sum + (last("error " + name) ?? 0), 0);
    const ok = last("ok");
    set("goodput", rate(ok));
    set("failing", ok == null ? "–" : failed === 0 ? "0 %" : ((failed / (ok + failed)) * 100).toFixed(2) + " %");
    set("p99", number(last("p99"), "ms"));
    const total = state.servers.reduce((sum, _, n) => sum + (last("total " + n) ?? 0), 0);
    set("connections", ok == null ? "–" : String(total));
    const left = state.phase_ends == null ? null : Math.max(0, Math.ceil(state.phase_ends - until));
    set("left", left == null ? "–" : left + " s");
    [...$("states").children].forEach((item, n) => {
      const name = BREAKERS[last("breaker " + n)] ?? "unknown";
      if (item.dataset.breaker === name) return;
      item.dataset.breaker = name;
      item.lastElementChild.textContent = name;
    });
    const [label, , tone] = PHASES[state.phase] ?? PHASES.idle;
    const badge = $("phase");
    const text = page.runs ? label.toUpperCase() : ok == null ? "IDLE" : "LOAD";
    if (badge.textContent !== text) badge.textContent = text;
    const look = "badge " + (page.runs ? tone : ok == null ? "void" : "before");
    if (badge.className !== look) badge.className = look;
    main.dataset.points = String(shown().t.length);
  }

  // ---- what the stream tells

  const told = {
    hello({ instance: name, resumed }) {
      if (name !== instance || !resumed) {
        forget();
        pools();
        main.dataset.begun = String(Number(main.dataset.begun ?? 0) + 1);
      }
      instance = name;
    },
    points(points) {
      points.coarse.forEach((point) => add(coarse, page.coarse_points, point));
      points.fine.forEach((point) => add(fine, page.fine_points, point));
      const end = points.fine.at(-1)?.t ?? points.coarse.at(-1)?.t;
      if (end != null) [newest, toldAt] = [Math.max(newest, end), performance.now()];
      // A coarse window moves with its own points only.
      if (shown() === fine || points.coarse.length) markAll();
      else mark("numbers");
    },
    state(next) {
      const others = next.servers.join("\n") !== state.servers.join("\n");
      state = next;
      state.phase ||= "idle";
      if (others) pools();
      const run = next.run;
      document.querySelector("h1").textContent = run ? run.scenario : page.program;
      document.title = (run && next.phase !== "idle" ? next.phase + " · " + run.scenario + " · " : "") + page.program;
      set("about", run ? run.description : "");
      set("client", [next.client && "Client under test: " + next.client, next.load].filter(Boolean).join("; "));
      // One fault may be a toxic each way.
      set("faults", [...new Set(next.faults.map((fault) => `${fault.target}: ${fault.given} (${fault.state})`))].join(" · "));
      set("more", next.left_out ? `${next.left_out} more servers are not drawn.` : "");
      if (!newest && next.spans.length) [newest, toldAt] = [next.spans.at(-1).from, performance.now()];
      markAll();
    },
    verdict(verdict) {
      const place = $("verdict");
      if (!place) return;
      const head = element("p");
      const badge = element("span", { className: "badge " + (verdict.final ? verdict.tone : "forming"), textContent: verdict.final ? verdict.name : "FORMING" });
      head.append(badge, " " + verdict.about);
      const table = element("table", { className: "stack" });
      const rows = table.createTBody();
      for (const criterion of verdict.criteria) {
        const row = rows.insertRow();
        const said = element("td");
        said.append(element("span", { className: "said " + criterion.tone, textContent: criterion.said }));
        const name = element("td", { textContent: criterion.title });
        const expected = element("td", { textContent: criterion.expected });
        const measured = element("td", { textContent: criterion.measured });
        expected.dataset.label = "expected";
        measured.dataset.label = "measured";
        row.append(said, name, expected, measured);
      }
      const frame = element("div", { className: "framed" });
      frame.append(table);
      place.replaceChildren(head, ...(verdict.criteria.length ? [frame] : []));
    },
    runs(runs) {
      const place = $("runs");
      if (!place || !runs.length) return;
      const table = element("table");
      const rows = table.createTBody();
      for (const run of runs) {
        const row = rows.insertRow();
        const result = element("td");
        result.append(element("span", { className: "badge " + run.tone, textContent: run.name }));
        const name = element("td");
        name.append(element("a", { href: "/runs/" + encodeURIComponent(run.id) + "/" + run.page, textContent: run.id }));
        row.append(result, name);
      }
      const frame = element("div", { className: "framed" });
      frame.append(table);
      place.replaceChildren(frame);
    },
    beat() {
      if (state.phase !== "idle" || newest) markAll();
    },
  };

  // ---- the connection

  let source, heard = 0, lostAt = null, id = page.after;
  function link(live) {
    const place = $("link");
    const name = live ? "live" : "lost";
    if (live) lostAt = null;
    else lostAt ??= new Date();
    const text = live ? "Live" : `Connection lost at ${lostAt.toLocaleTimeString("en-GB")}, retrying. What is shown is of before.`;
    if (place.dataset.state === name && place.textContent === text) return;
    place.dataset.state = name;
    place.textContent = text;
    main.toggleAttribute("data-stale", !live);
  }

  function connect() {
    source?.close();
    const query = new URLSearchParams({ job: String(job), ...(id ? { after: id } : {}) });
    source = new EventSource(page.stream + "?" + query);
    heard = performance.now();
    for (const name of Object.keys(told)) {
      source.addEventListener(name, (event) => {
        heard = performance.now();
        if (event.lastEventId) id = event.lastEventId;
        link(true);
        told[name](JSON.parse(event.data));
      });
    }
    const mine = source;
    source.onerror = () => {
      link(false);
      // A refusal is final for the browser; for us it is not.
      if (mine.readyState === EventSource.CLOSED) setTimeout(() => source === mine && connect(), RETRY_MS);
    };
  }

  setInterval(() => {
    if (performance.now() - heard > SILENCE_MS) {
      link(false);
      connect();
    }
  }, 1000);

  // ---- the reader's wishes

  for (const button of document.querySelectorAll("[data-window]")) {
    button.addEventListener("click", () => {
      seconds = Number(button.dataset.window);
      for (const other of document.querySelectorAll("[data-window]")) other.setAttribute("aria-pressed", String(other === button));
      markAll();
    });
  }
  $("job")?.addEventListener("change", (event) => {
    job = Number(event.target.value);
    id = "";
    connect();
  });
  const renew = () => {
    for (const id of charted.keys()) stale.add(id);
    markAll();
  };
  addEventListener("resize", () => {
    for (const [name, { plot, height }] of charted) {
      const place = document.querySelector(`[data-chart="${CSS.escape(name)}"]`);
      const width = Math.max(place.clientWidth, 200);
      if (width !== plot.width) plot.setSize({ width, height });
    }
    markAll();
  });

  forget();
  themes(renew);
  pools();
  // The server has put what there was into the page: the first paint shows it.
  for (const [name, data] of page.first) told[name](JSON.parse(data));
  connect();
})();
