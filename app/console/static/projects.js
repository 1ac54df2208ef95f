// All projects, page by page.

import { html, useState } from "./vendor/preact-htm.js";
import { author, call, withQuery } from "./api.js";
import { moment, usd } from "./format.js";
import { Ask, Loaded, Status, Table, usePages } from "./parts.js";

export function Projects() {
  const [slug, setSlug] = useState("");
  const [isCreating, setCreating] = useState(false);
  const { page, pager } = usePages((after, signal) => call(withQuery("/admin/v1/projects", { limit: 50, after, slug }), { signal }), [slug]);
  return html`<div class="between"><h1>Projects</h1><button class="main" onClick=${() => setCreating(true)}>New project</button></div>
    <form class="filters" role="search" onSubmit=${(e) => { e.preventDefault(); setSlug(new FormData(e.target).get("slug").trim()); }}>
      <label>Slug <input name="slug" maxlength="64" autocomplete="off" /></label>
      <button>Find</button>
    </form>
    <${Loaded} of=${page}>${(data) => html`
      <${Table} caption="Projects" rows=${data.data} empty=${slug ? "No project of that slug." : "No project yet."} columns=${[
        { name: "name", label: "Name", show: (row) => html`<a href="#/projects/${row.project_id}">${row.name}</a>` },
        { name: "slug", label: "Slug" },
        { name: "status", label: "Status", show: (row) => html`<${Status} of=${row.status} />` },
        { name: "available", label: "Available", isNumber: true, show: (row) => usd(row.balance.available) },
        { name: "captured", label: "Captured", isNumber: true, show: (row) => usd(row.balance.captured) },
        { name: "created_at", label: "Created", show: (row) => moment(row.created_at) },
      ]} />
      ${pager}`}<//>
    ${isCreating && html`<${Create} close=${() => setCreating(false)} />`}`;
}

function Create({ close }) {
  const create = async ({ name, slug, reason }) => {
    const made = await call("/admin/v1/projects", { method: "POST", body: { name, slug }, headers: author(reason) });
    location.hash = `#/projects/${made.project_id}/keys`;
  };
  return html`<${Ask} title="New project" consequence="It has no credit, no endpoint and no key yet. Its slug never changes: it is part of every key." button="Create" act=${create} close=${close}>
    <label>Name <input name="name" required maxlength="100" /></label>
    <label>Slug <input name="slug" required maxlength="64" pattern="[a-z0-9]+(-[a-z0-9]+)*" /></label>
  <//>`;
}
