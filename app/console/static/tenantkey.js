// An operator's token opens no project's data: to embed or to see batches, a key of the project is asked for.

import { html, useState } from "./vendor/preact-htm.js";
import { call, session } from "./api.js";
import { Problem } from "./parts.js";

/** {key, ask}: the key to call with, or a form that asks for one. */
export function useTenantKey(who) {
  const [key, set] = useState(who.role === "tenant" ? who.token : who.tenantKey);
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target).get("key").trim();
    try {
      await call("/v1/models", { token: given });
      session.write({ ...session.read(), tenantKey: given });
      who.tenantKey = given;
      set(given);
    } catch (failure) {
      setError(failure);
    }
  };
  const forget = () => {
    const { tenantKey, ...rest } = session.read();
    session.write(rest);
    delete who.tenantKey;
    set(undefined);
  };
  if (key) return { key, forget: who.role === "operator" ? forget : null };
  const ask = html`<form class="narrow" onSubmit=${submit}>
    <p>Your token opens no project's data. Give a key of the project that you want to look at; it stays in this tab.</p>
    <label>API key <input name="key" type="password" required autocomplete="off" spellcheck="false" /></label>
    <${Problem} error=${error} />
    <button class="main">Use this key</button>
  </form>`;
  return { ask };
}
