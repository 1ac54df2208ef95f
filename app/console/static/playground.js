// Texts in, vectors out: what they cost, how alike they are, and a search among them.

import { html, useState } from "./vendor/preact-htm.js";
import { call, request } from "./api.js";
import { duration, number, usd } from "./format.js";
import { Figure, Loaded, Problem, Table, save, useLoad } from "./parts.js";
import { useTenantKey } from "./tenantkey.js";
import { decode, dot, plane } from "./vectors.js";

const MOST_TEXTS = 200;
const MOST_SHOWN = 24;
const EXAMPLE = ["A cat sleeps on the sofa.", "The kitten naps on a couch.", "Interest rates were raised again.", "The central bank tightened its policy.", "How do I bake bread?"].join("\n");

export function Playground({ who }) {
  const tenant = useTenantKey(who);
  return html`<div class="between"><h1>Playground</h1>${tenant.forget && html`<button onClick=${tenant.forget}>Use another key</button>`}</div>
    ${tenant.ask ?? html`<${Bench} token=${tenant.key} />`}`;
}

async function embed(token, body) {
  const response = await request("/v1/embeddings", { method: "POST", token, body: { ...body, encoding_format: "base64" }, headers: { "x-server-timing": "1" } });
  const answer = await response.json();
  const stages = (response.headers.get("server-timing") ?? "").split(", ").filter(Boolean).map((one) => one.split(";dur=")).map(([name, ms]) => ({ name, ms: Number(ms) }));
  return {
    vectors: answer.data.map((item) => decode(item.embedding)),
    tokens: answer.usage.total_tokens,
    cost: Number(response.headers.get("x-cost-nano-usd")),
    cache: response.headers.get("x-cache"),
    tier: response.headers.get("x-service-tier"),
    requestId: response.headers.get("x-request-id"),
    stages,
  };
}

function Bench({ token }) {
  const models = useLoad((signal) => call("/v1/models", { token, signal }), [token]);
  const [state, set] = useState({});
  const submit = async (event) => {
    event.preventDefault();
    const { texts, model, tier, dimensions } = Object.fromEntries(new FormData(event.target));
    const lines = texts.split("\n").map((line) => line.trim()).filter(Boolean);
    const began = performance.now();
    set({ isBusy: true });
    try {
      if (!lines.length) throw new Error("Write at least one line.");
      if (lines.length > MOST_TEXTS) throw new Error(`At most ${MOST_TEXTS} lines here; batches take 50,000.`);
      const asked = { model, ...(tier ? { service_tier: tier } : {}), ...(dimensions ? { dimensions: Number(dimensions) } : {}) };
      const result = await embed(token, { ...asked, input: lines });
      set({ lines, asked, result, total: performance.now() - began });
    } catch (error) {
      set({ error });
    }
  };
  return html`<${Loaded} of=${models}>${(found) => html`<form onSubmit=${submit}>
      <label>Texts, one a line <textarea name="texts" rows="7" spellcheck="false">${EXAMPLE}</textarea></label>
      <div class="filters">
        <label>Endpoint, by a name of its model <select name="model">${found.data.map((one) => html`<option value=${one.id}>${one.id}</option>`)}</select></label>
        <label>Tier <select name="tier"><option value="">the endpoint's</option><option value="flex">flex</option><option value="default">default</option><option value="priority">priority</option></select></label>
        <label>Dimensions <input name="dimensions" type="number" min="1" placeholder="all" /></label>
        <button class="main" disabled=${state.isBusy}>Embed</button>
      </div>
    </form>
    <${Problem} error=${state.error} />
    <div role="status">${state.result && html`<${Result} token=${token} state=${state} />`}</div>`}<//>`;
}

function Result({ token, state }) {
  const { result, lines, total } = state;
  const shown = lines.slice(0, MOST_SHOWN);
  return html`<dl class="figures">
      <${Figure} label="Tokens" value=${number(result.tokens)} note=${`tier ${result.tier}`} />
      <${Figure} label="Cost" value=${usd(result.cost)} />
      <${Figure} label="Cache" value=${result.cache} />
      <${Figure} label="Dimensions" value=${number(result.vectors[0].length)} />
      <${Figure} label="Time in the browser" value=${duration(total)} note=${html`request <code>${result.requestId}</code>`} />
    </dl>
    <section><h2 id="stages">Time by stage</h2>
      <${Table} caption="Time by stage" rows=${result.stages} columns=${[{ name: "name", label: "Stage" }, { name: "ms", label: "Time", isNumber: true, show: (row) => duration(row.ms) }]} />
    </section>
    <section><div class="between"><h2 id="vectors">Vectors</h2>
        <button onClick=${() => save("vectors.json", JSON.stringify(lines.map((text, i) => ({ text, vector: [...result.vectors[i]] }))), "application/json")}>Download JSON</button></div>
      <${Table} caption="Vectors" rows=${shown.map((text, i) => ({ text, vector: result.vectors[i] }))} columns=${[{ name: "text", label: "Text" }, { name: "vector", label: "Begins with", show: (row) => html`<code>${[...row.vector.slice(0, 6)].map((x) => x.toFixed(4)).join(" ")} …</code>` }]} />
    </section>
    ${lines.length > 1 && html`<section><h2 id="alike">How alike they are</h2><${HeatMap} lines=${shown} vectors=${result.vectors} /></section>`}
    ${lines.length > 2 && html`<section><h2 id="map">A map of the texts</h2><${Scatter} lines=${lines} vectors=${result.vectors} /></section>`}
    <${Search} token=${token} state=${state} />`;
}

function HeatMap({ lines, vectors }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Cosine similarity of each pair">
    <table class="heat"><caption class="hidden">Cosine similarity of each pair</caption>
      <thead><tr><td></td>${lines.map((_, i) => html`<th scope="col">${i + 1}</th>`)}</tr></thead>
      <tbody>${lines.map((text, i) => html`<tr><th scope="row">${i + 1}. ${text}</th>
        ${lines.map((_, j) => {
          const value = dot(vectors[i], vectors[j]);
          const depth = Math.max(0, Math.min(9, Math.floor(value * 10)));
          return html`<td class="heat-${depth}" title=${lines[j]}>${value.toFixed(2)}</td>`;
        })}</tr>`)}</tbody>
    </table></div>`;
}

function Scatter({ lines, vectors }) {
  const points = plane(vectors);
  const reach = Math.max(1e-9, ...points.flat().map(Math.abs));
  return html`<svg class="scatter" viewBox="-60 -34 120 68" role="img" aria-label="Texts in the plane of their first two principal components; near ones are alike">
    ${points.map(([x, y], i) => html`<g transform=${`translate(${(x / reach) * 50} ${(-y / reach) * 28})`}><circle r="1.2" /><text x="2" y="1">${i + 1}</text><title>${lines[i]}</title></g>`)}
  </svg>`;
}

function Search({ token, state }) {
  const [found, set] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const query = new FormData(event.target).get("query").trim();
    try {
      const { vectors, cost } = await embed(token, { ...state.asked, input: query, input_type: "query" });
      const ranked = state.lines.map((text, i) => ({ text, alike: dot(vectors[0], state.result.vectors[i]) })).sort((a, b) => b.alike - a.alike);
      set({ ranked: ranked.slice(0, 10), cost });
    } catch (error) {
      set({ error });
    }
  };
  return html`<section><h2 id="search">Search these lines</h2>
    <form class="filters" role="search" onSubmit=${submit}><label>Question <input name="query" required /></label><button>Search</button></form>
    <${Problem} error=${found?.error} />
    ${found?.ranked && html`<${Table} caption="Lines by likeness" rows=${found.ranked} columns=${[{ name: "alike", label: "Cosine", isNumber: true, show: (row) => row.alike.toFixed(3) }, { name: "text", label: "Text" }]} />`}
  </section>`;
}
