// The frame: who is signed in, which page is open.

import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { call, session } from "./api.js";
import { Problem } from "./parts.js";
import { Overview } from "./overview.js";
import { Projects } from "./projects.js";
import { Project } from "./project.js";
import { Playground } from "./playground.js";
import { Batches } from "./batches.js";

const PAGES = {
  operator: [["", "Overview"], ["projects", "Projects"], ["playground", "Playground"], ["batches", "Batches"]],
  tenant: [["", "Project"], ["playground", "Playground"], ["batches", "Batches"]],
};

const place = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);

function usePlace() {
  const [at, set] = useState(place());
  useEffect(() => {
    const moved = () => set(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return at;
}

function SignIn({ begin }) {
  const [role, setRole] = useState("operator");
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const token = new FormData(event.target).get("token").trim();
    try {
      await call(role === "operator" ? "/admin/v1/projects?limit=1" : "/v1/usage", { token });
      begin({ token, role });
    } catch (failure) {
      setError(failure);
    }
  };
  return html`<main class="sign-in" id="content">
    <h1><img src="icon.svg" alt="" width="32" height="32" /> Embedgate</h1>
    <form onSubmit=${submit}>
      <fieldset>
        <legend>Sign in as</legend>
        ${[["operator", "Operator, with the admin token: all projects"], ["tenant", "Tenant, with an API key: its own project"]].map(
          ([value, label]) => html`<label class="choice"
            ><input type="radio" name="role" value=${value} checked=${role === value} onChange=${() => setRole(value)} /> ${label}</label
          >`,
        )}
      </fieldset>
      <label>${role === "operator" ? "Admin token" : "API key"}
        <input name="token" type="password" required autocomplete="off" spellcheck="false" />
      </label>
      <${Problem} error=${error} />
      <button class="main">Sign in</button>
      <p class="quiet">It stays in this tab and is forgotten with it.</p>
    </form>
  </main>`;
}

function Frame({ who, end }) {
  const at = usePlace();
  const heading = useRef(null);
  const [page, ...rest] = at;
  useEffect(() => {
    heading.current?.focus();
    document.title = `${PAGES[who.role].find(([path]) => path === page)?.[1] ?? "Project"} · Embedgate`;
  }, [page, rest[0]]);
  return html`<a class="skip" href="#content" onClick=${(e) => { e.preventDefault(); heading.current?.focus(); }}>Skip to the content</a>
    <header>
      <a class="brand" href="#/"><img src="icon.svg" alt="" width="24" height="24" /> Embedgate</a>
      <nav aria-label="Pages">
        ${PAGES[who.role].map(
          ([path, label]) => html`<a href="#/${path}" aria-current=${path === page ? "page" : undefined}>${label}</a>`,
        )}
        <a href="/docs">API</a>
      </nav>
      <button class="plain" onClick=${end}>Sign out</button>
    </header>
    <main id="content" ref=${heading} tabindex="-1"><${Page} key=${at.slice(0, 2).join("/")} who=${who} page=${page} rest=${rest} /></main>`;
}

function Page({ who, page, rest }) {
  if (page === "playground") return html`<${Playground} who=${who} />`;
  if (page === "batches") return html`<${Batches} who=${who} />`;
  if (who.role === "tenant") return html`<${Project} who=${who} tab=${rest[0] ?? "usage"} base="#/project" />`;
  if (page === "projects" && rest[0])
    return html`<${Project} who=${who} projectId=${rest[0]} tab=${rest[1] ?? "usage"} base=${`#/projects/${rest[0]}`} />`;
  if (page === "projects") return html`<${Projects} />`;
  return html`<${Overview} />`;
}

function Console() {
  const [who, set] = useState(session.read());
  const begin = (value) => {
    session.write(value);
    set(value);
  };
  const end = () => {
    session.end();
    location.hash = "#/";
    set(null);
  };
  return who ? html`<${Frame} who=${who} end=${end} />` : html`<${SignIn} begin=${begin} />`;
}

const root = document.getElementById("console");
root.replaceChildren();
render(html`<${Console} />`, root);
