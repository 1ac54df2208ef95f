// A project's keys. A new one is shown once.

import { html, useState } from "./vendor/preact-htm.js";
import { author, call, withQuery } from "./api.js";
import { moment } from "./format.js";
import { Ask, Copied, Dialog, Loaded, Table, usePages } from "./parts.js";
import { snippets } from "./snippets.js";

const stateOf = (key) => (key.revoked_at ? "revoked" : key.expires_at && new Date(key.expires_at) < new Date() ? "expired" : "active");

export function Keys({ root, project }) {
  const [asked, ask] = useState(null);
  const [minted, show] = useState(null);
  const { page, pager } = usePages((after, signal) => call(withQuery(`${root}/keys`, { limit: 50, after }), { signal }), [root]);
  const done = (key) => {
    ask(null);
    if (key) show(key);
    page.again();
  };
  return html`<section>
    <div class="between"><h2 id="keys">Keys</h2><button class="main" onClick=${() => ask({ kind: "create" })}>New key</button></div>
    <${Loaded} of=${page}>${(data) => html`
      <${Table} caption="Keys" rows=${data.data} empty="No key yet: nobody can call this project." columns=${[
        { name: "name", label: "Name" },
        { name: "key_id", label: "Id", show: (row) => html`<code>${row.key_id}</code>` },
        { name: "state", label: "State", show: (row) => html`<span class="badge ${stateOf(row) === "active" ? "good" : ""}">${stateOf(row)}</span>` },
        { name: "created_at", label: "Created", show: (row) => moment(row.created_at) },
        { name: "expires_at", label: "Expires", show: (row) => (row.expires_at ? moment(row.expires_at) : "never") },
        { name: "do", label: "Actions", show: (row) => stateOf(row) === "active" && html`<div class="buttons">
            <button onClick=${() => ask({ kind: "rotate", row })}>Rotate</button>
            <button onClick=${() => ask({ kind: "revoke", row })}>Revoke</button>
          </div>` },
      ]} />
      ${pager}`}<//>
    ${asked && html`<${Question} root=${root} asked=${asked} close=${() => ask(null)} done=${done} />`}
    ${minted && html`<${Minted} minted=${minted} project=${project} close=${() => show(null)} />`}
  </section>`;
}

function Question({ root, asked, close, done }) {
  const { kind, row } = asked;
  if (kind === "revoke")
    return html`<${Ask} title=${`Revoke ${row.name}?`} consequence="Within one second every request with it gets a 401, everywhere, and for ever. What is under way finishes and is charged." button="Revoke" isDanger close=${close} act=${async ({ reason }) => {
      await call(`${root}/keys/${row.key_id}`, { method: "DELETE", headers: author(reason) });
      done();
    }} />`;
  const create = async ({ name, expires, reason }) => {
    const limits = row ? Object.fromEntries(Object.entries(row.limits).filter(([, value]) => value !== null)) : undefined;
    const body = { name, ...(expires ? { expires_at: `${expires}T00:00:00Z` } : {}), ...(limits && Object.keys(limits).length ? { limits } : {}) };
    done(await call(`${root}/keys`, { method: "POST", body, headers: author(reason) }));
  };
  const consequence = row
    ? "A new key with the same limits, and the day below as its end, is made. The old one goes on working until you revoke it: do that when every caller has the new one."
    : "It opens every endpoint of this project, and is shown once.";
  return html`<${Ask} title=${row ? `Rotate ${row.name}` : "New key"} consequence=${consequence} button="Create" act=${create} close=${close}>
    <label>Name <input name="name" required maxlength="200" value=${row ? row.name : ""} /></label>
    <label>Expires on, never when empty <input name="expires" type="date" value=${row?.expires_at ? row.expires_at.slice(0, 10) : ""} /></label>
  <//>`;
}

function Minted({ minted, project, close }) {
  const [language, choose] = useState("Python");
  const model = project.endpoints[0]?.aliases[0] ?? project.endpoints[0]?.model ?? "MODEL";
  const texts = snippets({ origin: location.origin, model });
  return html`<${Dialog} title="The new key" close=${close} mustBeAnswered>
    <p>This is the only time that it is shown; the service keeps its hash alone.</p>
    <${Copied} text=${minted.api_key} test="key" />
    <p class="quiet">The snippets read it from <code>EMBEDGATE_API_KEY</code>.</p>
    <div class="choices" role="group" aria-label="Language">
      ${Object.keys(texts).map((name) => html`<button type="button" aria-pressed=${name === language} onClick=${() => choose(name)}>${name}</button>`)}
    </div>
    <${Copied} text=${texts[language]} />
    <div class="buttons"><button class="main" onClick=${close}>I have kept it</button></div>
  <//>`;
}
