// A project's batches: dropped in, watched, fetched, cancelled.

import { html, useState } from "./vendor/preact-htm.js";
import { call, request, withQuery } from "./api.js";
import { number, unix } from "./format.js";
import { Dialog, Loaded, Problem, Status, Table, save, useLoad, usePages } from "./parts.js";
import { useTenantKey } from "./tenantkey.js";

const RUNNING = ["validating", "in_progress", "finalizing", "cancelling"];
const LIVE_MS = 3000;
const MOST_ERRORS_SHOWN = 100;

export function Batches({ who }) {
  const tenant = useTenantKey(who);
  return html`<div class="between"><h1>Batches</h1>${tenant.forget && html`<button onClick=${tenant.forget}>Use another key</button>`}</div>
    ${tenant.ask ?? html`<${List} token=${tenant.key} />`}`;
}

function List({ token }) {
  const [open, setOpen] = useState(null);
  const load = async (after, signal) => {
    const page = await call(withQuery("/v1/batches", { limit: 20, after }), { token, signal });
    return { data: page.data, next_cursor: page.has_more ? page.last_id : null };
  };
  const { page, pager } = usePages(load, [token]);
  const isLive = page.data?.data.some((batch) => RUNNING.includes(batch.status));
  useLoad(async () => isLive && page.again(), [isLive], LIVE_MS);
  return html`<${Submit} token=${token} done=${page.again} />
    <${Loaded} of=${page}>${(data) => html`
      <${Table} caption="Batches" rows=${data.data} empty="No batch yet." columns=${[
        { name: "id", label: "Batch", show: (row) => html`<button class="plain" onClick=${() => setOpen(row.id)}><code>${row.id}</code></button>` },
        { name: "status", label: "Status", show: (row) => html`<${Status} of=${row.status} />` },
        { name: "model", label: "Model", show: (row) => row.model ?? "–" },
        { name: "progress", label: "Lines", show: (row) => html`<${Progress} counts=${row.request_counts} />` },
        { name: "created_at", label: "Created", show: (row) => unix(row.created_at) },
      ]} />
      ${pager}`}<//>
    ${open && html`<${One} token=${token} id=${open} close=${() => { setOpen(null); page.again(); }} />`}`;
}

function Progress({ counts }) {
  const done = counts.completed + counts.failed;
  return html`<progress max=${counts.total || 1} value=${done} aria-label="Lines done"></progress> ${number(done)} of ${number(counts.total)}${counts.failed ? `, ${number(counts.failed)} failed` : ""}`;
}

function Submit({ token, done }) {
  const models = useLoad((signal) => call("/v1/models", { token, signal }), [token]);
  const [state, set] = useState({});
  const [isOver, setOver] = useState(false);
  const look = async (file) => {
    const kind = /\.(jsonl|txt)$/i.exec(file.name)?.[1].toLowerCase();
    if (!kind) return set({ error: new Error("Only .jsonl files of requests and .txt files of texts are taken.") });
    const lines = (await file.text()).split("\n").filter((line) => line.trim()).length;
    return set({ asked: { file, kind, lines } });
  };
  const submit = async ({ file, kind }, model) => {
    set({ note: `${file.name} is sent…`, isBusy: true });
    try {
      const body = new FormData();
      body.append("purpose", "batch");
      body.append("file", kind === "jsonl" ? file : asRequests(await file.text(), model), `${file.name.replace(/\.[^.]*$/, "")}.jsonl`);
      const sent = await call("/v1/files", { method: "POST", body, token });
      const batch = await call("/v1/batches", { method: "POST", token, body: { input_file_id: sent.id, endpoint: "/v1/embeddings", completion_window: "24h" } });
      set({ note: `${batch.id} was made.` });
      done();
    } catch (error) {
      set({ error });
    }
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer.files[0];
    if (file && !state.isBusy) look(file);
  };
  return html`<div class="drop ${isOver ? "over" : ""}" onDragOver=${(e) => { e.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <p>Drop a file here: a <code>.jsonl</code> of requests as the OpenAI Batch API takes it, or a <code>.txt</code> with a text a line.</p>
    <label>Or choose one <input type="file" accept=".jsonl,.txt" disabled=${state.isBusy} onChange=${(e) => e.target.files[0] && look(e.target.files[0])} /></label>
    <p role="status">${state.note}</p>
    <${Problem} error=${state.error} />
    ${state.asked && html`<${Confirm} asked=${state.asked} models=${models.data?.data ?? []} submit=${submit} close=${() => set({})} />`}
  </div>`;
}

function Confirm({ asked, models, submit, close }) {
  const send = (event) => {
    event.preventDefault();
    submit(asked, new FormData(event.target).get("model"));
  };
  return html`<${Dialog} title="Submit a batch?" close=${close}><form onSubmit=${send}>
    <p>${number(asked.lines)} lines of <code>${asked.file.name}</code> become a batch. Each is charged once, at the batch price, when it is done; lines that fail cost nothing.</p>
    ${asked.kind === "txt" && html`<label>Model <select name="model" required>${models.map((one) => html`<option value=${one.id}>${one.id}</option>`)}</select></label>`}
    <div class="buttons"><button type="button" onClick=${close}>Cancel</button><button class="main">Submit</button></div>
  </form><//>`;
}

function asRequests(text, model) {
  const lines = text.split("\n").filter((line) => line.trim());
  const request = (input, i) => JSON.stringify({ custom_id: `line-${i + 1}`, method: "POST", url: "/v1/embeddings", body: { model, input } });
  return new Blob(lines.map((line, i) => `${request(line, i)}\n`), { type: "application/jsonl" });
}

function One({ token, id, close }) {
  const batch = useLoad((signal) => call(`/v1/batches/${id}`, { token, signal }), [id], LIVE_MS);
  const [error, setError] = useState(null);
  const [asksToCancel, askToCancel] = useState(false);
  const attempt = async (act) => {
    try {
      await act();
      setError(null);
    } catch (failure) {
      setError(failure);
    }
  };
  const fetchFile = (fileId, name) => attempt(async () => save(name, await (await request(`/v1/files/${fileId}/content`, { token })).blob()));
  const cancel = () => attempt(async () => {
    await call(`/v1/batches/${id}/cancel`, { method: "POST", token });
    askToCancel(false);
    batch.again();
  });
  return html`<${Dialog} title="Batch" close=${close}><p><code>${id}</code></p>
    <${Loaded} of=${batch}>${(data) => html`
      <p><${Status} of=${data.status} /> <${Progress} counts=${data.request_counts} /></p>
      <p class="quiet">Created ${unix(data.created_at)}${data.completed_at ? `, completed ${unix(data.completed_at)}` : ""}. ${data.usage ? `${number(data.usage.total_tokens)} tokens.` : ""}</p>
      ${data.errors && html`<${Faults} faults=${data.errors.data} />`}
      ${data.error_file_id && html`<${LineErrors} token=${token} fileId=${data.error_file_id} />`}
      <div class="buttons">
        ${data.output_file_id && html`<button class="main" onClick=${() => fetchFile(data.output_file_id, `${id}.jsonl`)}>Download results</button>`}
        ${data.error_file_id && html`<button onClick=${() => fetchFile(data.error_file_id, `${id}-errors.jsonl`)}>Download errors</button>`}
        ${["validating", "in_progress"].includes(data.status) && !asksToCancel && html`<button onClick=${() => askToCancel(true)}>Cancel this batch</button>`}
      </div>
      ${asksToCancel && html`<div class="notice mild"><p>What is done is kept and stays charged; the other lines are not computed and cost nothing.</p><button class="danger" onClick=${cancel}>Cancel the batch</button></div>`}`}<//>
    <${Problem} error=${error} />
  <//>`;
}

function Faults({ faults }) {
  return html`<h3>What is wrong with the file</h3>
    <${Table} caption="Faults of the file" rows=${faults.slice(0, MOST_ERRORS_SHOWN)} columns=${[{ name: "line", label: "Line", isNumber: true, show: (row) => row.line ?? "all" }, { name: "code", label: "Code" }, { name: "message", label: "Message" }]} />`;
}

function LineErrors({ token, fileId }) {
  const failed = useLoad(async (signal) => {
    const text = await (await request(`/v1/files/${fileId}/content`, { token, signal, headers: { range: "bytes=0-65535" } })).text();
    return text.split("\n").slice(0, MOST_ERRORS_SHOWN).flatMap(parsed);
  }, [fileId]);
  return html`<h3>Lines that failed</h3>
    <${Loaded} of=${failed}>${(rows) => html`<${Table} caption="Lines that failed" rows=${rows} columns=${[{ name: "id", label: "custom_id" }, { name: "code", label: "Code" }, { name: "message", label: "Message" }]} />`}<//>`;
}

function parsed(line) {
  try {
    const { custom_id, response, error } = JSON.parse(line);
    const cause = error ?? response?.body?.error ?? {};
    return [{ id: custom_id, code: cause.code, message: cause.message }];
  } catch {
    return []; // the range ended in the middle of a line
  }
}
