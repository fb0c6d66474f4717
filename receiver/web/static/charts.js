// Draws the figures of a source over time. The numbers are in the page; the table beneath says the same.
(() => {
  "use strict";

  const drawn = [];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // Colours come out of the style sheet resolved for the present scheme: custom properties alone would not be.
  function resolved(name) {
    const probe = document.createElement("span");
    probe.className = `probe c-${name}`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found || colour("--ink");
  }

  function instant(seconds) {
    return new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
  }

  function shortly(seconds, long) {
    const told = instant(seconds);
    return long || told.endsWith("00:00") ? told.slice(5, 10) : told.slice(11);
  }

  const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3], [1, 2]];

  function draw(box) {
    const lines = JSON.parse(box.dataset.lines);
    const names = Object.keys(lines);
    const x = JSON.parse(box.dataset.x);
    const stepped = box.id !== "chart-lag";
    if (stepped && x.length > 1) {
      // What is counted is of the time that begins at its place: the last one has a width, too.
      x.push(2 * x[x.length - 1] - x[x.length - 2]);
      for (const name of names) lines[name].push(lines[name][lines[name].length - 1]);
    }
    const soft = resolved("soft");
    const grid = resolved("hair");
    const axis = { stroke: soft, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    const long = x.length > 1 && x[x.length - 1] - x[0] > 2 * 86400;
    const steps = window.uPlot.paths.stepped({ align: 1 });
    box.replaceChildren();
    const chart = new window.uPlot({
      width: Math.max(box.clientWidth, 200),
      height: 200,
      cursor: { points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [Math.min(0, low || 0), Math.max(high || 0, 1) * 1.05] } },
      legend: { live: true },
      // As everywhere else on these pages: UTC, and days the way ISO 8601 writes them.
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      axes: [{ ...axis, values: (_, at) => at.map((one) => shortly(one, long)) }, { ...axis, size: 48 }],
      series: [{ label: "UTC", value: (_, at) => (at === null ? "" : `${instant(at)}`) }].concat(names.map((name, index) => ({
        label: name,
        stroke: resolved(name),
        width: 2,
        dash: DASHES[index % DASHES.length],
        spanGaps: true,
        paths: stepped ? steps : undefined,
        points: { show: x.length < 60 && !stepped },
        value: (_, value) => (value === null || value === undefined ? "" : `${value}${box.dataset.unit ? ` ${box.dataset.unit}` : ""}`),
      }))),
    }, [x].concat(names.map((name) => lines[name])), box);
    drawn.push([box, chart]);
  }

  function drawAll() {
    for (const [, chart] of drawn.splice(0)) chart.destroy();
    for (const box of document.querySelectorAll(".chart[data-lines]")) draw(box);
  }

  let later = null;

  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("themechange", drawAll);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  window.addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(() => {
      for (const [box, chart] of drawn) chart.setSize({ width: Math.max(box.clientWidth, 200), height: 200 });
    }, 100);
  });
})();
