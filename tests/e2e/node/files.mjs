// Uploads, lists, reads and deletes a file with the Node SDK; prints what it saw as JSON.
import { createHash } from "node:crypto";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const content = Buffer.from('{"custom_id":"ü"}\n'.repeat(1000));
const file = await client.files.create({ file: await toFile(content, "node.jsonl"), purpose: "batch" });
const listed = [];
for await (const one of client.files.list({ limit: 1 })) listed.push(one.id);
const back = Buffer.from(await (await client.files.content(file.id)).arrayBuffer());
const deleted = await client.files.delete(file.id);
const status = await client.files.retrieve(file.id).catch((error) => error.status);
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
console.log(JSON.stringify({
  bytes: file.bytes, listed: listed.includes(file.id), same: digest(back) === digest(content), deleted: deleted.deleted, status,
}));
