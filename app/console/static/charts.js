// Lines over time, drawn by uPlot; the same figures stand in a table for those who cannot see them.

import { html, useEffect, useRef } from "./vendor/preact-htm.js";

const COLORS = { priority: "--tier-priority", default: "--tier-default", flex: "--tier-flex", batch: "--tier-batch" };

const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A moment on an axis in UTC: the day where the steps are days, the time of day else, and the day at midnight. */
function clock(seconds, step) {
  const iso = new Date(seconds * 1000).toISOString();
  return step >= 86_400 || seconds % 86_400 === 0 ? iso.slice(5, 10) : iso.slice(11, 16);
}

/** `times` in Unix seconds; `lines`: {label, values, color?}; `show` writes a value. */
export function Chart({ title, times, lines, show }) {
  const place = useRef(null);
  useEffect(() => {
    const box = place.current;
    const grid = { stroke: styleOf("--line"), width: 1 };
    const axis = { stroke: styleOf("--quiet"), grid, ticks: grid, font: "12px system-ui" };
    const options = {
      width: Math.max(240, box.clientWidth),
      height: 180,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { live: true },
      axes: [{ ...axis, values: (_, splits) => splits.map((s) => clock(s, splits[1] - splits[0])) }, { ...axis, size: 70, values: (_, splits) => splits.map((v) => show(v)) }],
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high || 1] } },
      series: [
        { label: "UTC" },
        ...lines.map((line) => ({
          label: line.label,
          stroke: styleOf(line.color ?? COLORS[line.label] ?? "--quiet"),
          width: 2,
          spanGaps: false,
          value: (_, value) => (value === null ? "–" : show(value)),
        })),
      ],
    };
    const plot = new uPlot(options, [times, ...lines.map((line) => line.values)], box);
    const watch = new ResizeObserver(() => plot.setSize({ width: Math.max(240, box.clientWidth), height: 180 }));
    watch.observe(box);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  });
  return html`<figure class="chart"><figcaption>${title}</figcaption><div ref=${place} aria-hidden="true"></div></figure>`;
}
