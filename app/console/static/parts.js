// What pages are made of.

import { html, useCallback, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { number } from "./format.js";

/** Load something, and again every `everyMs`, or once the service says that it is worth it: {data, error, isLoading, again}.
 *  What was there stays until the next is. */
export function useLoad(load, keys, everyMs = 0) {
  const [state, set] = useState({ data: null, error: null, isLoading: true });
  const [round, setRound] = useState(0);
  const again = useCallback(() => setRound((r) => r + 1), []);
  useEffect(() => {
    let isWanted = true;
    let timer;
    const stop = new AbortController();
    const run = async () => {
      let pauseMs = everyMs;
      try {
        const data = await load(stop.signal);
        if (isWanted) set({ data, error: null, isLoading: false });
      } catch (error) {
        if (isWanted && error.name !== "AbortError") set((s) => ({ ...s, error, isLoading: false }));
        if (error.status === 503) pauseMs ||= Math.max(2, Number(error.retryAfter)) * 1000;
      }
      if (isWanted && pauseMs) timer = setTimeout(run, document.hidden ? pauseMs * 5 : pauseMs);
    };
    set((s) => ({ ...s, isLoading: true }));
    run();
    return () => {
      isWanted = false;
      clearTimeout(timer);
      stop.abort();
    };
  }, [...keys, round]);
  return { ...state, again };
}

/** What went wrong, and what can be done. */
export function Problem({ error, again }) {
  if (!error) return null;
  const remedy =
    error.status === 401
      ? "Sign in again: the key or token is unknown, expired or revoked."
      : error.status === 503
        ? "Part of the service does not answer, perhaps Redis. Requests are refused meanwhile and nothing is charged for them."
        : "";
  return html`<div class="notice bad" role="alert">
    <p><strong>${error.message}</strong> ${remedy}</p>
    ${error.requestId && html`<p class="quiet">Request <code>${error.requestId}</code></p>`}
    ${again && html`<button onClick=${again}>Try again</button>`}
  </div>`;
}

/** A region that shows a load: its problem, its content, or that it is on its way. Always one element, which keeps its
 *  place among others while what is in it changes. */
export function Loaded({ of, children }) {
  return html`<div>
    <${Problem} error=${of.error} again=${of.again} />
    ${of.data ? children(of.data) : !of.error && html`<p class="quiet">Loading…</p>`}
  </div>`;
}

/** A table. `columns`: {name, label, isNumber?, show?(row)}. */
export function Table({ caption, columns, rows, empty }) {
  if (!rows.length) return html`<p class="quiet">${empty ?? "Nothing here yet."}</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="hidden">${caption}</caption>
      <thead><tr>${columns.map((c) => html`<th scope="col" class=${c.isNumber ? "number" : ""}>${c.label}</th>`)}</tr></thead>
      <tbody>
        ${rows.map((row) => html`<tr>${columns.map((c) => html`<td class=${c.isNumber ? "number" : ""}>${cell(c, row)}</td>`)}</tr>`)}
      </tbody>
    </table>
  </div>`;
}

function cell(column, row) {
  if (column.show) return column.show(row);
  const value = row[column.name];
  return column.isNumber && typeof value === "number" ? number(value) : value;
}

/** Pages that the server cuts: `load(cursor)` answers {data, next_cursor}. */
export function usePages(load, keys) {
  const [cursors, setCursors] = useState([null]);
  useEffect(() => setCursors([null]), keys);
  const at = cursors[cursors.length - 1];
  const page = useLoad((signal) => load(at, signal), [...keys, at]);
  const next = page.data?.next_cursor;
  const pager = html`<nav class="pager" aria-label="Pages">
    <button disabled=${cursors.length < 2 || page.isLoading} onClick=${() => setCursors(cursors.slice(0, -1))}>Previous</button>
    <span>Page ${cursors.length}</span>
    <button disabled=${!next || page.isLoading} onClick=${() => setCursors([...cursors, next])}>Next</button>
  </nav>`;
  return { page, pager, isLast: !next };
}

/** How much of a bound is used. */
export function Gauge({ label, used, bound, show, note }) {
  const share = bound ? Math.min(1, used / bound) : 0;
  return html`<div class="gauge">
    <div class="between"><span>${label}</span><span>${show(used)} of ${show(bound)}</span></div>
    <meter min="0" max="1" high="0.9" value=${share} aria-label=${label}>${Math.round(share * 100)} %</meter>
    ${note && html`<p class="quiet">${note}</p>`}
  </div>`;
}

export function Figure({ label, value, note }) {
  return html`<div class="figure"><dt>${label}</dt><dd>${value}</dd>${note && html`<dd class="note">${note}</dd>`}</div>`;
}

/** A question that needs an answer before something happens. Escape closes it, unless it `mustBeAnswered`. */
export function Dialog({ title, children, close, mustBeAnswered }) {
  const place = useRef(null);
  useEffect(() => {
    const dialog = place.current;
    dialog.showModal();
    return () => dialog.close(); // gives the focus back to where it was
  }, []);
  return html`<dialog ref=${place} aria-label=${title} onClose=${close} onCancel=${(e) => mustBeAnswered && e.preventDefault()}>
    <div class="between"><h2>${title}</h2>
      ${!mustBeAnswered && html`<button class="plain" aria-label="Close" onClick=${close}>✕</button>`}</div>
    ${children}
  </dialog>`;
}

/** A form in a dialog: says what will happen, does it, and shows what the service said against it. */
export function Ask({ title, consequence, button, isDanger, act, close, children }) {
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await act(Object.fromEntries(new FormData(event.target)));
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} close=${close}>
    <form onSubmit=${submit}>
      ${consequence && html`<p>${consequence}</p>`}
      ${children}
      <label>Reason, for the journal <input name="reason" maxlength="500" /></label>
      <${Problem} error=${error} />
      <div class="buttons">
        <button type="button" onClick=${close}>Cancel</button>
        <button class=${isDanger ? "danger" : "main"} disabled=${isBusy}>${button}</button>
      </div>
    </form>
  <//>`;
}

/** A text that is kept, with a button that copies it. Over plain HTTP browsers have no clipboard: then it is selected. */
export function Copied({ text, test }) {
  const place = useRef(null);
  const [label, setLabel] = useState("Copy");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setLabel("Copied");
    } catch {
      getSelection().selectAllChildren(place.current);
      setLabel("Selected: now copy it");
    }
  };
  useEffect(() => setLabel("Copy"), [text]);
  return html`<div class="between"><code class="block" data-test=${test} ref=${place}>${text}</code><button type="button" onClick=${copy}>${label}</button></div>`;
}

/** Hand a text to the browser as a file. */
export function save(name, text, type = "text/csv") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function Status({ of }) {
  const kind = { active: "good", delinquent: "bad", completed: "good", failed: "bad" }[of] ?? "";
  return html`<span class="badge ${kind}">${of}</span>`;
}
