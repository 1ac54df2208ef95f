// Every move of a project's money, and every change of it, newest first.

import { html, useState } from "./vendor/preact-htm.js";
import { call, withQuery } from "./api.js";
import { day, moment, number, usd } from "./format.js";
import { Loaded, Table, usePages } from "./parts.js";

const KINDS = ["", "grant", "hold", "capture", "release", "expire", "refund", "change"];
const MOST_PAGES = 50;
const AUTHORED = ["actor", "reason", "what", "before", "after"];

export function Journal({ root }) {
  const [sought, seek] = useState({ day: day(new Date()), kind: "", request_id: "", user: "" });
  // A page may be empty and have a next one: the service looks back a bounded way at a time.
  const load = async (after, signal) => {
    for (let pages = 1; ; pages++) {
      const page = await call(withQuery(`${root}/journal`, { ...sought, after, limit: 50 }), { signal });
      if (page.data.length || !page.next_cursor || pages === MOST_PAGES) return page;
      after = page.next_cursor;
    }
  };
  const { page, pager, isLast } = usePages(load, [root, JSON.stringify(sought)]);
  const submit = (event) => {
    event.preventDefault();
    const wanted = Object.fromEntries(new FormData(event.target));
    if (JSON.stringify(wanted) === JSON.stringify(sought)) page.again();
    else seek(wanted);
  };
  const follow = (request_id) => seek({ ...sought, kind: "", user: "", request_id });
  return html`<section>
    <h2 id="journal">Journal</h2>
    <form class="filters" role="search" onSubmit=${submit} key=${JSON.stringify(sought)}>
      <label>Day (UTC) <input type="date" name="day" value=${sought.day} required /></label>
      <label>Kind <select name="kind">${KINDS.map((kind) => html`<option value=${kind} selected=${kind === sought.kind}>${kind || "any"}</option>`)}</select></label>
      <label>Request <input name="request_id" value=${sought.request_id} maxlength="128" spellcheck="false" /></label>
      <label>User <input name="user" value=${sought.user} maxlength="512" /></label>
      <button>Show</button>
    </form>
    <${Loaded} of=${page}>${(data) => html`
      <${Table} caption="Journal" rows=${data.data} empty=${isLast ? "No such entry on that day." : "None on this page; the next looks further back."} columns=${[
        { name: "at", label: "At", show: (row) => moment(row.at) },
        { name: "kind", label: "Kind" },
        { name: "amount_nano_usd", label: "Amount", isNumber: true, show: (row) => (row.kind === "change" ? "" : usd(row.amount_nano_usd)) },
        { name: "tokens", label: "Tokens", isNumber: true, show: (row) => (row.tokens ? number(row.tokens) : "") },
        { name: "request_id", label: "Request", show: (row) => row.request_id && html`<button class="plain" title="Its whole course" onClick=${() => follow(row.request_id)}><code>${row.request_id}</code></button>` },
        { name: "details", label: "Of what", show: (row) => html`<${Details} row=${row} />` },
      ]} />
      ${pager}`}<//>
  </section>`;
}

function Details({ row }) {
  const { endpoint, key_id, tier, user, ...rest } = row.details;
  const known = [endpoint, tier, key_id, user && `user ${user}`].filter(Boolean).join(" · ");
  const authored = Object.fromEntries(AUTHORED.filter((name) => rest[name] !== undefined && rest[name] !== "").map((name) => [name, rest[name]]));
  if (!Object.keys(authored).length) return known || html`<code>${row.id}</code>`;
  const { what, actor, reason, before, after } = authored;
  return html`${known} ${what} ${actor && `by ${actor}`}${reason && `: ${reason}`}
    ${after && html`<details><summary>What changed</summary><code class="block">${JSON.stringify({ before, after }, null, 1)}</code></details>`}`;
}
