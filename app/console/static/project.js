// One project: its money and limits, usage, journal, endpoints and keys. A tenant sees the first three of its own.

import { html } from "./vendor/preact-htm.js";
import { call } from "./api.js";
import { Endpoints } from "./endpoints.js";
import { moment, number, until, usd } from "./format.js";
import { Journal } from "./journal.js";
import { Keys } from "./keys.js";
import { Figure, Gauge, Loaded, Status, useLoad } from "./parts.js";
import { Settings } from "./settings.js";
import { UsageReport } from "./usage.js";

const TABS = { operator: ["usage", "journal", "endpoints", "keys", "settings"], tenant: ["usage", "journal"] };

export function Project({ who, projectId, tab, base }) {
  const isOperator = who.role === "operator";
  const root = isOperator ? `/admin/v1/projects/${encodeURIComponent(projectId)}` : "/v1";
  const account = useLoad((signal) => call(`${root}/account`, { signal }), [root], 10_000);
  const detail = useLoad((signal) => (isOperator ? call(root, { signal }) : null), [root]);
  const again = () => {
    account.again();
    detail.again();
  };
  const name = detail.data?.name ?? account.data?.project_id ?? "Project";
  return html`<div class="between"><h1>${name} ${account.data && html`<${Status} of=${account.data.status} />`}</h1>
      ${detail.data && html`<p class="quiet"><code>${detail.data.slug}</code> · <code>${projectId}</code></p>`}</div>
    <${Loaded} of=${account}>${(data) => html`<${Standing} account=${data} />`}<//>
    <nav class="tabs" aria-label="Of this project">
      ${TABS[who.role].map((one) => html`<a href=${`${base}/${one}`} aria-current=${one === tab ? "page" : undefined}>${one[0].toUpperCase() + one.slice(1)}</a>`)}
    </nav>
    <${Tab} tab=${tab} root=${root} detail=${detail} again=${again} />`;
}

function Tab({ tab, root, detail, again }) {
  if (tab === "journal") return html`<${Journal} root=${root} />`;
  if (tab === "usage") return html`<${UsageReport} root=${root} />`;
  return html`<${Loaded} of=${detail}>${(project) => {
    if (tab === "endpoints") return html`<${Endpoints} root=${root} endpoints=${project.endpoints} again=${again} />`;
    if (tab === "keys") return html`<${Keys} root=${root} project=${project} />`;
    return html`<${Settings} root=${root} project=${project} again=${again} />`;
  }}<//>`;
}

function Standing({ account }) {
  const { balance, budgets, month, rates } = account;
  const resets = `Starts anew ${until(month.ends_at)}, ${moment(month.ends_at)}.`;
  const gauges = [
    budgets.monthly_nano_usd !== null && budgets.monthly_nano_usd !== undefined && html`<${Gauge} label="Month's money" used=${month.nano_usd} bound=${budgets.monthly_nano_usd} show=${usd} note=${resets} />`,
    budgets.monthly_tokens !== null && budgets.monthly_tokens !== undefined && html`<${Gauge} label="Month's tokens" used=${month.tokens} bound=${budgets.monthly_tokens} show=${number} note=${resets} />`,
    ...["requests", "tokens"].map((kind) => {
      const rate = rates[kind];
      return rate && html`<${Gauge} label=${`Rate of ${kind}`} used=${rate.limit - rate.remaining} bound=${rate.limit} show=${number} note=${`Whole again ${until(rate.resets_at)}.`} />`;
    }),
  ].filter(Boolean);
  return html`<dl class="figures">
      <${Figure} label="Available" value=${usd(balance.available)} />
      <${Figure} label="Held" value=${usd(balance.held)} note=${`${number(account.open_holds)} open holds`} />
      <${Figure} label="Captured" value=${usd(balance.captured)} />
      <${Figure} label="Granted" value=${usd(balance.granted)} />
      ${balance.debt ? html`<${Figure} label="Debt" value=${usd(balance.debt)} />` : null}
    </dl>
    ${gauges.length ? html`<div class="gauges">${gauges}</div>` : html`<p class="quiet">No rate limit and no monthly budget is set.</p>`}`;
}
