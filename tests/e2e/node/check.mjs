// Embeds texts with the SDK's default options and prints what it decoded, as JSON.
// Arguments: base URL, key, model. Texts come as a JSON array on standard input.
import OpenAI from "openai";
import { readFileSync } from "node:fs";

const [baseURL, apiKey, model] = process.argv.slice(2);
const input = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const byDefault = await client.embeddings.create({ model, input });
const asFloat = await client.embeddings.create({ model, input, encoding_format: "float" });
const names = (await client.models.list()).data.map((m) => m.id);

let refusal;
try {
  await client.embeddings.create({ model, input: "" });
} catch (error) {
  refusal = { status: error.status, type: error.type, code: error.code, param: error.param, id: error.requestID };
}

console.log(JSON.stringify({
  default: byDefault.data.map((d) => d.embedding),
  float: asFloat.data.map((d) => d.embedding),
  usage: byDefault.usage,
  names,
  refusal,
}));
