// Runs a batch from upload to download with the Node SDK; prints what it saw as JSON.
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, model, count] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const lines = Array.from({ length: Number(count) }, (_, n) =>
  JSON.stringify({ custom_id: `n${n}`, method: "POST", url: "/v1/embeddings", body: { model, input: `node text ${n}` } }),
);
const file = await client.files.create({ file: await toFile(Buffer.from(lines.join("\n")), "node.jsonl"), purpose: "batch" });
let batch = await client.batches.create({ input_file_id: file.id, endpoint: "/v1/embeddings", completion_window: "24h" });
while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await new Promise((resolve) => setTimeout(resolve, 200));
  batch = await client.batches.retrieve(batch.id);
}
const output = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map(JSON.parse);
const listed = [];
for await (const one of client.batches.list({ limit: 1 })) listed.push(one.id);
console.log(JSON.stringify({
  status: batch.status, counts: batch.request_counts, ids: new Set(output.map((line) => line.custom_id)).size,
  size: output[0].response.body.data[0].embedding.length, listed: listed.includes(batch.id),
}));
