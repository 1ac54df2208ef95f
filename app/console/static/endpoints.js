// A project's endpoints: named entries to models, with a tier, a deadline and a price.

import { html, useState } from "./vendor/preact-htm.js";
import { author, call } from "./api.js";
import { dollars, nanoOf, number, usd } from "./format.js";
import { Ask, Status, Table } from "./parts.js";

export function Endpoints({ root, endpoints, again }) {
  const [asked, ask] = useState(null);
  const done = () => {
    ask(null);
    again();
  };
  return html`<section>
    <div class="between"><h2 id="endpoints">Endpoints</h2><button class="main" onClick=${() => ask({ kind: "create" })}>New endpoint</button></div>
    <${Table} caption="Endpoints" rows=${endpoints} empty="No endpoint: every request gets a 404." columns=${[
      { name: "slug", label: "Slug" },
      { name: "model", label: "Model" },
      { name: "aliases", label: "Also called", show: (row) => row.aliases.join(", ") || "–" },
      { name: "status", label: "Status", show: (row) => html`<${Status} of=${row.status} />` },
      { name: "service_tier", label: "Tier" },
      { name: "price", label: "A million tokens", isNumber: true, show: (row) => usd(row.price_nano_usd_per_mtok) },
      { name: "timeout_ms", label: "Deadline", isNumber: true, show: (row) => `${number(row.timeout_ms)} ms` },
      { name: "do", label: "Actions", show: (row) => html`<div class="buttons">
          <button onClick=${() => ask({ kind: "change", row })}>Change</button>
          <button onClick=${() => ask({ kind: row.status === "active" ? "pause" : "resume", row })}>${row.status === "active" ? "Pause" : "Resume"}</button>
        </div>` },
    ]} />
    ${asked && html`<${Question} root=${root} asked=${asked} close=${() => ask(null)} done=${done} />`}
  </section>`;
}

function Question({ root, asked, close, done }) {
  const { kind, row } = asked;
  const change = async (body, reason) => {
    await call(`${root}/endpoints/${encodeURIComponent(row.slug)}`, { method: "PATCH", body, headers: author(reason) });
    done();
  };
  if (kind === "pause")
    return html`<${Ask} title=${`Pause ${row.slug}?`} consequence="Within one second its requests get a 503 (endpoint_inactive) that costs nothing. Requests under way finish. Batches that name it fail line by line." button="Pause" isDanger act=${({ reason }) => change({ status: "inactive" }, reason)} close=${close} />`;
  if (kind === "resume")
    return html`<${Ask} title=${`Resume ${row.slug}?`} consequence="It takes requests again within one second." button="Resume" act=${({ reason }) => change({ status: "active" }, reason)} close=${close} />`;
  const save = async ({ reason, slug, aliases, price, dimensions, timeout_ms, ...rest }) => {
    const price_nano_usd_per_mtok = nanoOf(price);
    if (price_nano_usd_per_mtok === null) throw new Error("The price is an amount in dollars with at most nine decimals.");
    const names = aliases.split(",").map((name) => name.trim()).filter(Boolean);
    const body = { ...rest, aliases: names, price_nano_usd_per_mtok, timeout_ms: Number(timeout_ms), dimensions: dimensions ? Number(dimensions) : null };
    if (kind === "change") return change(body, reason);
    await call(`${root}/endpoints`, { method: "POST", body: { slug, ...body }, headers: author(reason) });
    return done();
  };
  const now = row ?? { slug: "", model: "", aliases: [], service_tier: "default", price_nano_usd_per_mtok: 0, dimensions: "", timeout_ms: 30_000 };
  return html`<${Ask} title=${row ? `Change ${row.slug}` : "New endpoint"} consequence=${row ? "Takes effect within one second; requests under way keep what they began with." : "It takes requests at once, from every key of the project."} button=${row ? "Save" : "Create"} act=${save} close=${close}>
    ${!row && html`<label>Slug <input name="slug" required maxlength="64" /></label>`}
    <label>Model <input name="model" required value=${now.model} /></label>
    <label>Other names, with commas between <input name="aliases" value=${now.aliases.join(", ")} /></label>
    <label>Tier of requests that name none <select name="service_tier">${["flex", "default", "priority"].map((tier) => html`<option value=${tier} selected=${tier === now.service_tier}>${tier}</option>`)}</select></label>
    <label>Dollars for a million tokens <input name="price" inputmode="decimal" required value=${dollars(now.price_nano_usd_per_mtok)} /></label>
    <label>Dimensions, the model's own when empty <input name="dimensions" type="number" min="1" value=${now.dimensions ?? ""} /></label>
    <label>Deadline in ms <input name="timeout_ms" type="number" min="1" max="60000" required value=${now.timeout_ms} /></label>
  <//>`;
}
