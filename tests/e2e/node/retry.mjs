// Asks once with the SDK's own retries and prints how it ended, as JSON.
// Arguments: base URL, key, model, text, retries.
import OpenAI from "openai";

const [baseURL, apiKey, model, input, retries] = process.argv.slice(2);
let attempts = 0;
const client = new OpenAI({
  baseURL,
  apiKey,
  maxRetries: Number(retries),
  fetch: (...request) => {
    attempts += 1;
    return fetch(...request);
  },
});
const began = performance.now();
let end = {};
try {
  await client.embeddings.create({ model, input });
  end = { status: 200 };
} catch (error) {
  end = { status: error.status, type: error.type, code: error.code };
}
console.log(JSON.stringify({ ...end, attempts, took_ms: performance.now() - began }));
