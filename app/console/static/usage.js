// What was charged: by day as a chart, by any groups as a table and as CSV, the same as `embedgate usage`.

import { html, useState } from "./vendor/preact-htm.js";
import { call, withQuery } from "./api.js";
import { Chart } from "./charts.js";
import { csvLine, day, number, short, usd } from "./format.js";
import { Loaded, Problem, Table, save, useLoad, usePages } from "./parts.js";

const GROUPS = ["day", "endpoint", "tier", "key", "user"];
const NUMBERS = ["requests", "tokens", "cached_tokens", "amount_nano_usd"];
const LABELS = { requests: "Requests", tokens: "Charged tokens", cached_tokens: "Free tokens", amount_nano_usd: "Charged" };
const PAGE = 100;

const daysBack = (count) => day(new Date(Date.now() - count * 86_400_000));

export function UsageReport({ root }) {
  const [from, setFrom] = useState(daysBack(29));
  const [to, setTo] = useState(day(new Date()));
  const [by, setBy] = useState(["day"]);
  const span = { from, to };
  const chart = useLoad((signal) => call(withQuery(`${root}/usage`, { ...span, by: "day" }), { signal }), [root, from, to]);
  const groups = GROUPS.filter((name) => by.includes(name));
  const load = (after, signal) => call(withQuery(`${root}/usage`, { ...span, by: groups.join(",") || ",", limit: PAGE, after }), { signal });
  const { page, pager } = usePages(load, [root, from, to, groups.join(",")]);
  const toggle = (name) => setBy(by.includes(name) ? by.filter((one) => one !== name) : [...by, name]);
  const [failure, fail] = useState(null);
  const download = async () => {
    try {
      await fetchCsv();
      fail(null);
    } catch (error) {
      fail(error);
    }
  };
  const fetchCsv = async () => {
    const report = await call(withQuery(`${root}/usage`, { ...span, by: groups.join(",") || "," }));
    const columns = [...groups, ...NUMBERS];
    const lines = report.data.map((row) => csvLine(columns.map((name) => row[name] ?? "")));
    save(`usage-${report.project_id}-${from}-${to}.csv`, csvLine(columns) + lines.join(""));
  };
  return html`<section>
    <h2 id="usage">Usage</h2>
    <div class="filters">
      <label>From <input type="date" value=${from} max=${to} onChange=${(e) => e.target.value && setFrom(e.target.value)} /></label>
      <label>To <input type="date" value=${to} min=${from} onChange=${(e) => e.target.value && setTo(e.target.value)} /></label>
      <fieldset class="inline"><legend>By</legend>
        ${GROUPS.map((name) => html`<label class="choice"><input type="checkbox" checked=${by.includes(name)} onChange=${() => toggle(name)} /> ${name}</label>`)}
      </fieldset>
      <button onClick=${download}>Download CSV</button>
    </div>
    <${Problem} error=${failure} />
    <${Loaded} of=${chart}>${(data) => html`<${Days} data=${data} />`}<//>
    <${Loaded} of=${page}>${(data) => html`<${Rows} data=${data} groups=${groups} />${pager}`}<//>
  </section>`;
}

function Days({ data }) {
  const found = new Map(data.data.map((row) => [row.day, row]));
  const days = [];
  for (let at = Date.parse(data.from_day); at <= Date.parse(data.to_day); at += 86_400_000) days.push(day(new Date(at)));
  const times = days.map((one) => Date.parse(one) / 1000);
  const line = (name) => [{ label: LABELS[name], color: "--accent", values: days.map((one) => found.get(one)?.[name] ?? 0) }];
  return html`<div class="charts">
    <${Chart} title="Charged a day" times=${times} lines=${line("amount_nano_usd")} show=${(nano) => usd(Math.round(nano))} />
    <${Chart} title="Requests a day" times=${times} lines=${line("requests")} show=${short} />
  </div>`;
}

function Rows({ data, groups }) {
  const columns = [
    ...groups.map((name) => ({ name, label: name[0].toUpperCase() + name.slice(1), show: (row) => row[name] || "–" })),
    ...NUMBERS.map((name) => ({ name, label: LABELS[name], isNumber: true, show: name === "amount_nano_usd" ? (row) => usd(row[name]) : undefined })),
  ];
  return html`<${Table} caption="Usage" rows=${data.data} columns=${columns} empty="Nothing was charged in these days." />
    <p>In all: <strong>${usd(data.total.amount_nano_usd)}</strong> for ${number(data.total.requests)} requests, ${number(data.total.tokens)} charged and ${number(data.total.cached_tokens)} free tokens.</p>`;
}
