// Puts a chart that can be zoomed and read in the place of each picture. Everything is there without it. The view is kept in the address.
(() => {
  "use strict";
  const doc = document;
  const colour = name => getComputedStyle(doc.documentElement).getPropertyValue(name).trim();
  // light-dark() is resolved by an element, not by a variable.
  const ink = name => { const probe = doc.createElement("span"); probe.style.color = `var(${name})`; doc.body.append(probe); const found = getComputedStyle(probe).color; probe.remove(); return found || colour(name); };
  const charts = [];
  const draw = (figure, data) => {
    const place = figure.querySelector(".plot");
    if (!place || !window.uPlot || !data.points.length) return;
    const big = figure.dataset.big === "yes", points = data.points;
    const xs = points.map((_, i) => i), part = data.relative;
    const show = v => v == null ? "–" : part ? (100 * v).toFixed(2) + " %" : scale(v) + " " + data.unit;
    const series = [
      { label: "commit", value: (u, v) => v == null || !points[v] ? "–" : `${points[v].commit.slice(0, 10)} · ${points[v].date.slice(0, 10)}` },
      { label: "high", width: 0, points: { show: false }, value: (u, v) => show(v) },
      { label: "median", stroke: ink("--series"), width: 1.5, points: { show: points.length < 60, size: 5 }, value: (u, v) => show(v) },
      { label: "low", width: 0, points: { show: false }, value: (u, v) => show(v) },
      { label: "level", stroke: ink("--ink"), width: 1, dash: [4, 3], points: { show: false }, value: (u, v) => show(v) },
    ];
    const marks = u => {
      const at = u.ctx;
      at.save();
      for (const mark of data.marks) {
        const x = u.valToPos(mark.index, "x", true);
        if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
        at.strokeStyle = at.fillStyle = ink(mark.worse ? "--bs-bad" : "--bs-good");
        at.setLineDash([4, 4]); at.beginPath(); at.moveTo(x, u.bbox.top); at.lineTo(x, u.bbox.top + u.bbox.height); at.stroke();
        at.textAlign = "left"; at.textBaseline = "alphabetic"; at.font = `${11 * devicePixelRatio}px sans-serif`;
        at.fillText((mark.worse ? "▲ " : "▼ ") + (100 * mark.change).toFixed(1) + " %", x + 5 * devicePixelRatio, u.bbox.top + 12 * devicePixelRatio);
      }
      at.restore();
    };
    const axis = { stroke: ink("--dim"), grid: { stroke: ink("--line"), width: 1 }, ticks: { show: false } };
    const keep = u => {
      if (!big) return;
      const url = new URL(location.href), { min, max } = u.scales.x, all = min <= 0 && max >= points.length - 1;
      for (const [name, at] of [["from", Math.ceil(min)], ["to", Math.floor(max)]]) {
        const point = points[Math.min(Math.max(at, 0), points.length - 1)];
        if (all || !point) url.searchParams.delete(name); else url.searchParams.set(name, point.commit);
      }
      history.replaceState(null, "", url);
    };
    const width = () => Math.max(200, place.clientWidth);
    const options = {
      width: width(), height: big ? 380 : 190, series, bands: [{ series: [1, 3], fill: ink("--band") }],
      scales: { x: { time: false } }, legend: { show: big },
      axes: [{ ...axis, size: 30, values: (u, ticks) => ticks.map(i => Number.isInteger(i) && points[i] ? points[i].date.slice(5, 10) : "") }, { ...axis, size: 64, values: (u, ticks) => ticks.map(v => part ? (100 * v).toFixed(1) + "%" : scale(v)) }],
      cursor: { drag: { x: true, y: false }, sync: { key: "perf" } }, hooks: { draw: [marks], setScale: [(u, key) => { if (key === "x" && u.ready) keep(u); }] },
    };
    const old = place.innerHTML;
    place.replaceChildren();
    try {
      const chart = new uPlot(options, [xs, points.map(p => p.high), points.map(p => p.center), points.map(p => p.low), points.map(p => p.level)], place);
      chart.ready = true;
      const at = name => points.findIndex(p => p.commit === new URL(location.href).searchParams.get(name));
      const [from, to] = [at("from"), at("to")];
      if (big && from >= 0 && to > from) chart.setScale("x", { min: from, max: to });
      if (big) place.addEventListener("click", event => { const i = chart.cursor.idx; if (event.shiftKey && i != null && points[i]) location.hash = "commit" + points[i].commit; });
      charts.push([chart, place, width]);
    } catch (error) { place.innerHTML = old; console.error(error); }
  };
  const scale = v => {
    const size = Math.abs(v), step = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]].find(([by]) => size >= by) || [1, ""];
    return (v / step[0]).toPrecision(4).replace(/\.?0+$/, "") + step[1];
  };
  // A failed request leaves the picture, and does not keep others from theirs.
  const load = async figure => {
    try {
      const answer = await fetch(figure.dataset.src, { headers: { accept: "application/json" } });
      if (answer.ok) draw(figure, await answer.json());
    } catch { /* the picture stays */ }
  };
  const seen = new IntersectionObserver(entries => { for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); load(entry.target); } }, { rootMargin: "200px" });
  const begin = () => { for (const figure of doc.querySelectorAll("figure[data-src]")) seen.observe(figure); };
  addEventListener("resize", () => { for (const [chart, place, width] of charts) if (place.isConnected) chart.setSize({ width: width(), height: chart.height }); });
  if (doc.readyState === "loading") doc.addEventListener("DOMContentLoaded", begin); else begin();
})();
