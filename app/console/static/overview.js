// What the cluster does, how it stands, and what is wrong with it.

import { html, useState } from "./vendor/preact-htm.js";
import { call } from "./api.js";
import { Chart } from "./charts.js";
import { duration, moment, number, short, usd } from "./format.js";
import { Figure, Loaded, Table, useLoad } from "./parts.js";

const VIEWS = [["hour", "Last hour"], ["day", "Last day"], ["week", "Last week"]];
const TIERS = ["priority", "default", "flex"];
const ALL_TIERS = [...TIERS, "batch", "none"];

export function Overview() {
  const [view, setView] = useState("hour");
  const now = useLoad((signal) => call(`/admin/v1/overview?view=${view}`, { signal }), [view], view === "hour" ? 5000 : 60_000);
  const money = useLoad((signal) => call("/admin/v1/totals", { signal }), [], 30_000);
  return html`<div class="between">
      <h1>Overview</h1>
      <div class="choices" role="group" aria-label="Span of time">
        ${VIEWS.map(([name, label]) => html`<button aria-pressed=${view === name} onClick=${() => setView(name)}>${label}</button>`)}
      </div>
    </div>
    <${Loaded} of=${now}>${(data) => html`${!now.error && html`<${Troubles} all=${data.troubles} />`}<${Traffic} data=${data} />`}<//>
    <section>
      <h2 id="money">Money of all projects</h2>
      <${Loaded} of=${money}>${(data) => html`<${Money} totals=${data} />`}<//>
    </section>`;
}

function Troubles({ all }) {
  if (!all.length) return html`<p class="notice good" role="status">All is well: models have the replicas that they need, waits are within their bounds, and requests do not fail.</p>`;
  return html`<ul class="troubles" role="status" aria-label="What is wrong now">
    ${all.map((one) => html`<li class="notice ${one.is_urgent ? "bad" : "mild"}">${one.sentence}</li>`)}
  </ul>`;
}

const sum = (tiers, name) => Object.values(tiers).reduce((total, one) => total + one[name], 0);

function Traffic({ data }) {
  const times = data.points.map((point) => Date.parse(point.at) / 1000);
  const minutes = data.point_s / 60;
  const lines = (value) => TIERS.map((tier) => ({ label: tier, values: data.points.map((p) => (p.tiers[tier] ? value(p.tiers[tier]) : null)) }));
  const rate = (name) => ALL_TIERS.map((tier) => ({ label: tier === "none" ? "not read" : tier, values: data.points.map((p) => (p.tiers[tier]?.[name] ?? 0) / minutes) }));
  return html`<dl class="figures">
      <${Figure} label="Requests" value=${number(sum(data.total, "requests"))} note=${`${number(sum(data.total, "refused"))} refused, ${number(sum(data.total, "failed"))} failed`} />
      <${Figure} label="Charged tokens" value=${number(sum(data.total, "tokens"))} note=${`${number(sum(data.total, "cached_tokens"))} came free`} />
      <${Figure} label="Charged" value=${usd(sum(data.total, "nano_usd"))} note="as gateways counted" />
      <${Figure} label="Gateways" value=${data.gateways} note="heard in the last 10 s" />
    </dl>
    <div class="charts">
      <${Chart} title="Requests a minute" times=${times} lines=${rate("requests")} show=${short} />
      <${Chart} title="Tokens a minute" times=${times} lines=${rate("tokens")} show=${short} />
      <${Chart} title="Median time" times=${times} lines=${lines((one) => one.p50_ms)} show=${duration} />
      <${Chart} title="99th percentile" times=${times} lines=${lines((one) => one.p99_ms)} show=${duration} />
      <${Chart} title="Failed a minute (5xx)" times=${times} lines=${rate("failed")} show=${short} />
      <${Chart} title="Refused a minute (4xx)" times=${times} lines=${rate("refused")} show=${short} />
      <${Chart} title="Charged a minute" times=${times} lines=${rate("nano_usd")} show=${(nano) => usd(Math.round(nano))} />
    </div>
    <section>
      <h2 id="by-tier">By tier</h2>
      <${Table} caption="Activity by tier" rows=${Object.entries(data.total).map(([tier, one]) => ({ tier: tier === "none" ? "not read" : tier, ...one }))} empty="No request in this span." columns=${[
        { name: "tier", label: "Tier" },
        { name: "requests", label: "Requests", isNumber: true },
        { name: "refused", label: "Refused", isNumber: true },
        { name: "failed", label: "Failed", isNumber: true },
        { name: "left", label: "Left", isNumber: true },
        { name: "tokens", label: "Charged tokens", isNumber: true },
        { name: "cached_tokens", label: "Free tokens", isNumber: true },
        { name: "nano_usd", label: "Charged", isNumber: true, show: (row) => usd(row.nano_usd) },
        { name: "p50_ms", label: "p50", isNumber: true, show: (row) => duration(row.p50_ms) },
        { name: "p99_ms", label: "p99", isNumber: true, show: (row) => duration(row.p99_ms) },
      ]} />
      <details><summary>The figures behind the charts</summary>
        <${Table} caption="Activity over time" rows=${data.points.flatMap((p) => Object.entries(p.tiers).map(([tier, one]) => ({ at: p.at, tier, ...one })))} empty="No request in this span." columns=${[
          { name: "at", label: "From", show: (row) => moment(row.at) },
          { name: "tier", label: "Tier" },
          { name: "requests", label: "Requests", isNumber: true },
          { name: "refused", label: "Refused", isNumber: true },
          { name: "failed", label: "Failed", isNumber: true },
          { name: "tokens", label: "Charged tokens", isNumber: true },
          { name: "p50_ms", label: "p50", isNumber: true, show: (row) => duration(row.p50_ms) },
          { name: "p99_ms", label: "p99", isNumber: true, show: (row) => duration(row.p99_ms) },
        ]} />
      </details>
    </section>
    <section>
      <h2 id="models">Models now</h2>
      <${Table} caption="Models and their replicas" rows=${Object.entries(data.models).map(([name, one]) => ({ name, ...one }))} empty="No gateway has told of a model yet." columns=${[
        { name: "name", label: "Model" },
        { name: "replicas", label: "Replicas", isNumber: true, show: (row) => (row.replicas || !row.may_sleep ? row.replicas : "asleep") },
        { name: "tokens_per_s", label: "Tokens a second", isNumber: true, show: (row) => (row.tokens_per_s ? short(row.tokens_per_s) : "not measured") },
        { name: "waiting", label: "Tokens waiting", isNumber: true, show: (row) => number(Object.values(row.waiting_tokens).reduce((a, b) => a + b, 0)) },
        ...TIERS.map((tier) => ({ name: tier, label: `Wait, ${tier}`, isNumber: true, show: (row) => duration(row.wait_ms[tier]) })),
      ]} />
    </section>`;
}

function Money({ totals }) {
  const { balance } = totals;
  return html`<dl class="figures">
    <${Figure} label="Granted" value=${usd(balance.granted)} note=${`${number(totals.projects)} projects`} />
    <${Figure} label="Available" value=${usd(balance.available)} />
    <${Figure} label="Held" value=${usd(balance.held)} note=${`${number(totals.open_holds)} open holds`} />
    <${Figure} label="Captured" value=${usd(balance.captured)} />
    ${Number(balance.debt) ? html`<${Figure} label="Debt" value=${usd(balance.debt)} note="spent beyond journalled grants" />` : null}
  </dl>`;
}
