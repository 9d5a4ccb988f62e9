"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 56rem)");
  // Apart from each other for most colour-blind eyes, on white and on black; with more requests, dashes tell them apart.
  const COLOURS = ["#2a7fc9", "#d9770f", "#1a9e77", "#c44fa0", "#8a6fd1", "#a88b00", "#d94c4c", "#2aa5b8"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const LEGEND_LETTERS = 44;
  const LEGEND_LINE_PX = 19;

  // plotly reads a little HTML in what it writes.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shortened = (text) => (text.length > LEGEND_LETTERS ? text.slice(0, LEGEND_LETTERS - 1) + "…" : text);

  // ---- the table of requests ----

  function compare(kind, a, b) {
    if (kind === "number") return Number(a) - Number(b);
    return a.localeCompare(b, undefined, { numeric: true, sensitivity: "base" });
  }

  function sortBy(table, heading) {
    const column = heading.cellIndex;
    const kind = heading.querySelector("button").dataset.kind;
    const down = heading.getAttribute("aria-sort") === "ascending";
    const value = (row) => row.cells[column].dataset.value;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const known = rows.filter((row) => value(row) !== "");
    known.sort((a, b) => (down ? -1 : 1) * compare(kind, value(a), value(b)));
    body.append(...known, ...rows.filter((row) => value(row) === "")); // what has no value comes last both ways
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  for (const table of document.querySelectorAll("table.requests")) {
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) sortBy(table, button.closest("th"));
    });
  }

  // ---- plots ----

  function themed() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: of("--line"), linecolor: of("--line"), zerolinecolor: of("--line"), automargin: true };
    return {
      ink: of("--ink"),
      focus: of("--focus"),
      axis,
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: of("--ink"), family: getComputedStyle(document.body).fontFamily, size: 12 },
        hoverlabel: { bgcolor: of("--card"), bordercolor: of("--line"), font: { color: of("--ink") }, namelength: -1 },
      },
    };
  }

  const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  function drawScores(place, requests, at_s, seek) {
    const theme = themed();
    const style = (i) => ({ color: COLOURS[i % COLOURS.length], dash: DASHES[Math.floor(i / COLOURS.length) % 4], width: 2 });
    const traces = requests.map((request, i) => ({
      type: "scatter",
      mode: "lines+markers",
      x: request.at_s,
      y: request.jf,
      name: plain(shortened(request.text)),
      line: style(i),
      marker: { size: 4 },
      connectgaps: false,
      hovertemplate: `${plain(request.text)}<br>%{x:.2f} s, J&amp;F %{y:.3f}<extra></extra>`,
    }));
    const upright = (x, line) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", layer: "below", line });
    const shapes = requests.map((request, i) => upright(request.asked_s, { ...style(i), dash: "dot", width: 1 }));
    shapes.push({ ...upright(at_s ?? 0, { color: theme.focus, width: 2 }), layer: "above", visible: at_s !== null });
    const layout = {
      ...theme.layout,
      height: 300 + LEGEND_LINE_PX * requests.length,
      margin: { l: 44, r: 12, t: 8, b: 30 },
      xaxis: { ...theme.axis, ticksuffix: " s" },
      yaxis: { ...theme.axis, title: { text: "J&amp;F" }, range: [-0.03, 1.03] },
      hovermode: "closest",
      hoverdistance: -1, // so that plotly tells of a click anywhere
      showlegend: true,
      legend: { y: -0.12, yanchor: "top", x: 0, font: { size: 11 } },
      shapes,
    };
    Plotly.react(place, traces, layout, CONFIG);
    if (!place.dataset.drawn) {
      place.dataset.drawn = "yes";
      place.on("plotly_click", ({ event, points }) => {
        const { clientX } = event.changedTouches ? event.changedTouches[0] : event;
        const area = place.querySelector(".nsewdrag").getBoundingClientRect();
        seek(points[0].xaxis.p2d(clientX - area.left));
      });
    }
  }

  function drawLatency(place) {
    const theme = themed();
    const trace = { type: "histogram", x: data.latency_ms[place.dataset.bag], marker: { color: COLOURS[0] }, nbinsx: 60 };
    const layout = {
      ...theme.layout,
      height: 220,
      margin: { l: 44, r: 12, t: 8, b: 40 },
      bargap: 0.05,
      xaxis: { ...theme.axis, title: { text: "latency, ms" } },
      yaxis: { ...theme.axis, title: { text: "frames" } },
    };
    Plotly.react(place, [trace], layout, CONFIG);
    place.dataset.drawn = "yes";
  }

  // ---- players: a video, its scrubber and its plot ----

  class Player {
    constructor(root) {
      this.root = root;
      this.values = data.players[root.dataset.player];
      this.video = root.querySelector("video");
      this.plot = root.querySelector(".plot");
      this.frame = 0;
      this.wanted = null; // a frame that is still to be gone to
      if (this.video) this.wire();
    }

    wire() {
      this.slider = this.root.querySelector("input");
      this.button = this.root.querySelector(".play");
      this.readout = this.root.querySelector(".readout");
      this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
      this.button.addEventListener("click", () => this.toggle());
      this.video.addEventListener("click", () => this.toggle());
      for (const step of this.root.querySelectorAll(".step")) {
        step.addEventListener("click", () => this.step(Number(step.dataset.step)));
      }
      this.root.querySelector("select").addEventListener("change", (event) => {
        this.video.playbackRate = this.video.defaultPlaybackRate = Number(event.target.value);
      });
      this.root.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (by && !event.target.matches("select, .plot *")) {
          event.preventDefault();
          this.step(by);
        }
      });
      for (const kind of ["loadedmetadata", "seeked"]) this.video.addEventListener(kind, () => this.settle());
      for (const kind of ["play", "pause", "ended"]) this.video.addEventListener(kind, () => this.told());
      this.video.addEventListener("error", () => this.failed());
      this.show(0);
    }

    /** Load and draw; called when it comes into view. */
    open() {
      if (this.video && !this.video.src) this.video.src = this.video.dataset.src;
      if (this.plot && !this.plot.dataset.drawn) this.draw();
    }

    draw() {
      drawScores(this.plot, this.values.requests, this.video ? this.seconds(this.frame) : null, (at_s) => {
        if (this.video) this.goTo(this.nearest(at_s * 1e9));
      });
    }

    seconds(frame) {
      return this.values.at_ns[frame] / 1e9;
    }

    nearest(at_ns) {
      const stamps = this.values.at_ns;
      let low = 0;
      let high = stamps.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (stamps[middle] < at_ns) low = middle + 1;
        else high = middle;
      }
      return low > 0 && at_ns - stamps[low - 1] <= stamps[low] - at_ns ? low - 1 : low;
    }

    step(by) {
      this.video.pause();
      this.goTo(this.frame + by);
    }

    goTo(frame) {
      const last = this.values.at_ns.length - 1;
      this.wanted = Math.min(Math.max(frame, 0), last);
      this.show(this.wanted);
      this.open();
      if (!this.video.seeking) this.settle(); // else when it has arrived: dragging asks for more than it can do
    }

    settle() {
      if (this.wanted === null || this.video.readyState < HTMLMediaElement.HAVE_METADATA) return;
      // The middle of a frame's time on the screen: rounding never shows a neighbour.
      this.video.currentTime = (this.wanted + 0.5) / this.values.fps;
      this.wanted = null;
    }

    toggle() {
      this.open();
      if (this.video.paused) this.video.play().catch(() => this.failed());
      else this.video.pause();
    }

    told() {
      const playing = !this.video.paused && !this.video.ended;
      this.button.textContent = playing ? "⏸" : "▶";
      this.button.setAttribute("aria-label", playing ? "Pause" : "Play");
      if (playing) requestAnimationFrame(() => this.follow());
    }

    follow() {
      if (this.wanted === null && !this.video.seeking) this.show(Math.floor(this.video.currentTime * this.values.fps));
      if (!this.video.paused && !this.video.ended) requestAnimationFrame(() => this.follow());
    }

    show(frame) {
      const last = this.values.at_ns.length - 1;
      this.frame = Math.min(Math.max(frame, 0), last);
      const at_s = this.seconds(this.frame);
      const stamp = (BigInt(this.values.start_ns) + BigInt(this.values.at_ns[this.frame])).toString().padStart(10, "0");
      const told = `${at_s.toFixed(2)} s`;
      this.slider.value = this.frame;
      this.slider.setAttribute("aria-valuetext", told);
      this.readout.textContent =
        `${told}, frame ${this.frame + 1} of ${last + 1}, stamp ${stamp.slice(0, -9)}.${stamp.slice(-9)}`;
      this.mark();
    }

    /** Move the plot's line; one move at a time, the last one wins. */
    mark() {
      if (!this.plot || !this.plot.dataset.drawn || this.marking) return;
      const at_s = this.seconds(this.frame);
      const line = `shapes[${this.values.requests.length}]`;
      this.marking = true;
      Plotly.relayout(this.plot, { [`${line}.x0`]: at_s, [`${line}.x1`]: at_s }).then(() => {
        this.marking = false;
        if (this.seconds(this.frame) !== at_s) this.mark();
      });
    }

    failed() {
      if (this.video.error) this.root.querySelector(".note").hidden = false;
    }
  }

  const players = [...document.querySelectorAll(".player")].map((root) => new Player(root));
  const latencies = [...document.querySelectorAll(".latency")];

  document.addEventListener("click", (event) => {
    const from = event.target.closest(".seek");
    if (!from) return;
    const player = players[from.dataset.player];
    player.video.pause();
    player.goTo(player.nearest(Number(from.dataset.atNs)));
    player.root.scrollIntoView({ block: "start" });
    player.slider.focus({ preventScroll: true });
  });

  // A report may hold hundreds of recordings: only what is looked at is loaded.
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        const player = players.find((one) => one.root === entry.target);
        if (player) player.open();
        else drawLatency(entry.target);
        seen.unobserve(entry.target);
      }
    },
    { rootMargin: "300px" },
  );
  for (const one of [...players.map((player) => player.root), ...latencies]) seen.observe(one);

  function redraw() {
    for (const player of players) if (player.plot && player.plot.dataset.drawn) player.draw();
    for (const place of latencies) if (place.dataset.drawn) drawLatency(place);
  }
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
})();
