// Charts, drawn by uPlot from the `data-chart` of each figure, and updated in place when the page changes.
// The left and right arrow keys read the values of the focused chart aloud.
"use strict";

const HEIGHT = 190; // pixels, as in dashboard.css
const MAX_LABEL = 14; // characters of a release beside its mark
const LABEL_ROWS = 3;
const LOOKS = {
  area: { stroke: "ink-2", fill: "line-soft" },
  line: { stroke: "accent" },
  bad: { stroke: "failed" },
};

const charts = new Map(); // by figure: { text, data, plot, spoken }

const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
const moment = new Intl.DateTimeFormat(language, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function columns(data) {
  const times = data.lines[0].values.map((_, index) => data.since + index * data.step);
  return [times, ...data.lines.map((line) => line.values)];
}

function withUnit(value, unit) {
  return value == null ? "–" : number.format(value) + (unit && ` ${unit}`);
}

function timeTicks(plot, times, axis, space, step) {
  return times.map((at) => {
    const time = new Date(at * 1000);
    const midnight = time.getHours() === 0 && time.getMinutes() === 0;
    return (step >= 86400 || midnight ? day : clock).format(time);
  });
}

// Draw a dashed line with its name for each release. Names that would overlap go to the next row.
function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  const ratio = uPlot.pxRatio;
  const ends = Array(LABEL_ROWS).fill(-Infinity);
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = color("accent");
  ctx.lineWidth = ratio;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  ctx.font = `${11 * ratio}px ${color("font")}`;
  ctx.textAlign = "left";
  for (const [at, release] of marks) {
    const x = Math.round(plot.valToPos(at, "x", true));
    const name = release.length > MAX_LABEL ? `${release.slice(0, MAX_LABEL - 1)}…` : release;
    const width = ctx.measureText(name).width;
    const left = x + width + 6 * ratio > bbox.left + bbox.width ? x - width - 4 * ratio : x + 4 * ratio;
    const row = ends.findIndex((end) => end < left);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (row >= 0) {
      ctx.fillText(name, left, bbox.top + (11 + row * 13) * ratio);
      ends[row] = left + width + 6 * ratio;
    }
  }
  ctx.restore();
}

// While the pointer is elsewhere, the legend has the newest values.
function showNewest(plot) {
  if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 });
}

function options(chart, width) {
  const axis = { stroke: () => color("ink-3"), font: `11px ${color("font")}` };
  const none = { show: false };
  return {
    width, height: HEIGHT, padding: [8, 8, 0, 0],
    cursor: { y: false, drag: { x: false, y: false } },
    legend: { markers: { width: 0, fill: (plot, index) => color(LOOKS[chart.data.lines[index - 1].look].stroke) } },
    scales: { y: { range: (plot, least, most) => [0, (most || 1) * (chart.data.marks.length ? 1.3 : 1.1)] } },
    axes: [
      { ...axis, grid: none, ticks: { stroke: () => color("line"), size: 4 }, size: 28, values: timeTicks },
      { ...axis, grid: { stroke: () => color("line-soft"), width: 1 }, ticks: none, size: 50,
        values: (plot, values) => values.map((value) => withUnit(value, chart.data.unit)) },
    ],
    series: [
      { label: "", value: (plot, at) => (at == null ? "–" : moment.format(new Date(at * 1000))) },
      ...chart.data.lines.map(({ label, look }) => ({
        label, width: 1.5, spanGaps: false,
        stroke: () => color(LOOKS[look].stroke),
        fill: LOOKS[look].fill && (() => color(LOOKS[look].fill)),
        value: (plot, value) => withUnit(value, chart.data.unit),
      })),
    ],
    hooks: {
      draw: [(plot) => drawMarks(plot, chart.data.marks)],
      setCursor: [showNewest],
    },
  };
}

function onKey(event, chart) {
  const last = chart.plot.data[0].length - 1;
  const now = chart.plot.cursor.idx ?? last + 1;
  const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const index = Math.min(last, Math.max(0, next));
  const [times, ...values] = chart.plot.data;
  chart.plot.setCursor({ left: chart.plot.valToPos(times[index], "x"), top: 10 });
  const words = chart.data.lines.map(({ label }, line) => `${label} ${withUnit(values[line][index], chart.data.unit)}`);
  chart.spoken.textContent = `${moment.format(new Date(times[index] * 1000))}: ${words.join(", ")}`;
}

function draw(figure) {
  const place = figure.querySelector(".plot");
  const chart = { text: figure.dataset.chart, data: JSON.parse(figure.dataset.chart), spoken: document.createElement("p") };
  chart.spoken.className = "sr";
  chart.spoken.setAttribute("aria-live", "polite");
  chart.plot = new uPlot(options(chart, place.clientWidth), columns(chart.data), place);
  showNewest(chart.plot);
  place.append(chart.spoken);
  place.addEventListener("keydown", (event) => onKey(event, chart));
  chart.resized = new ResizeObserver(() => chart.plot.setSize({ width: place.clientWidth, height: HEIGHT }));
  chart.resized.observe(place);
  charts.set(figure, chart);
}

function update() {
  for (const [figure, chart] of charts) {
    if (figure.isConnected) continue;
    chart.resized.disconnect();
    chart.plot.destroy();
    charts.delete(figure);
  }
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const chart = charts.get(figure);
    if (!chart) draw(figure);
    else if (chart.text !== figure.dataset.chart) {
      chart.text = figure.dataset.chart;
      chart.data = JSON.parse(chart.text);
      chart.plot.setData(columns(chart.data));
      showNewest(chart.plot);
    }
  }
}

document.addEventListener("htmx:after:swap", update);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { plot } of charts.values()) plot.redraw();
});
update();
