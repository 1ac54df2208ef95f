// What an operator sets for a project: credit, status, limits, budgets.

import { html, useState } from "./vendor/preact-htm.js";
import { author, call } from "./api.js";
import { dollars, nanoOf } from "./format.js";
import { Ask } from "./parts.js";

const RATES = [
  ["requests_per_minute", "Requests a minute"],
  ["request_burst", "Requests at once, a minute's worth when empty"],
  ["tokens_per_minute", "Tokens a minute"],
  ["token_burst", "Tokens at once, a minute's worth when empty"],
];

const STATUSES = {
  active: "It is served again within one second.",
  delinquent: "Within one second its requests get a 402 (billing_delinquent). Its credit stays as it is.",
  disabled: "Within one second its keys open nothing: every request gets a 401.",
};

export function Settings({ root, project, again }) {
  const [asked, ask] = useState(null);
  const done = () => {
    ask(null);
    again();
  };
  const close = () => ask(null);
  const change = async (body, reason) => {
    await call(root, { method: "PATCH", body, headers: author(reason) });
    done();
  };
  return html`<section>
    <h2 id="settings">Settings</h2>
    <div class="buttons">
      <button class="main" onClick=${() => ask("grant")}>Grant credit</button>
      <button onClick=${() => ask("limits")}>Change limits and budgets</button>
      ${Object.keys(STATUSES).filter((one) => one !== project.status).map((one) => html`<button onClick=${() => ask(one)}>Make ${one}</button>`)}
    </div>
    ${asked === "grant" && html`<${Grant} root=${root} close=${close} done=${done} />`}
    ${asked === "limits" && html`<${LimitsForm} project=${project} change=${change} close=${close} />`}
    ${STATUSES[asked] && html`<${Ask} title=${`Make ${project.name} ${asked}?`} consequence=${STATUSES[asked]} button=${`Make ${asked}`} isDanger=${asked !== "active"} act=${({ reason }) => change({ status: asked }, reason)} close=${close} />`}
  </section>`;
}

const freshId = () => `grant_${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;

function Grant({ root, close, done }) {
  // One id for as long as the question is open: whatever became of the first attempt, a second one grants nothing more.
  const [grant_id] = useState(freshId);
  const grant = async ({ amount, reason }) => {
    const amount_nano_usd = nanoOf(amount);
    if (!amount_nano_usd) throw new Error("Name an amount in dollars, with at most nine decimals.");
    if (!reason) throw new Error("A grant needs a reason.");
    await call(`${root}/grants`, { method: "POST", body: { grant_id, amount_nano_usd, reason }, headers: author(reason) });
    done();
  };
  return html`<${Ask} title="Grant credit" consequence="Available at once. A negative amount corrects, never below what is held or captured." button="Grant" act=${grant} close=${close}>
    <label>Dollars <input name="amount" inputmode="decimal" required /></label>
  <//>`;
}

function LimitsForm({ project, change, close }) {
  const { limits, budgets } = project;
  const save = ({ reason, money, tokens, ...rates }) => {
    const bound = money.trim() ? nanoOf(money) : undefined;
    if (bound === null) throw new Error("The month's money is an amount in dollars, with at most nine decimals.");
    const set = Object.fromEntries(Object.entries(rates).filter(([, value]) => value).map(([name, value]) => [name, Number(value)]));
    const month = { ...(bound === undefined ? {} : { monthly_nano_usd: bound }), ...(tokens ? { monthly_tokens: Number(tokens) } : {}) };
    return change({ limits: set, budgets: month }, reason);
  };
  return html`<${Ask} title="Limits and budgets" consequence="They hold from the next second on. An empty field is no limit." button="Save" act=${save} close=${close}>
    ${RATES.map(([name, label]) => html`<label>${label} <input name=${name} type="number" min="1" value=${limits[name] ?? ""} /></label>`)}
    <label>Dollars a month <input name="money" inputmode="decimal" value=${budgets.monthly_nano_usd != null ? dollars(budgets.monthly_nano_usd) : ""} /></label>
    <label>Tokens a month <input name="tokens" type="number" min="0" value=${budgets.monthly_tokens ?? ""} /></label>
  <//>`;
}
