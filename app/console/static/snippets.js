// How a key is used, in five languages and libraries.

export function snippets({ origin, model }) {
  return {
    Python: `import os
from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=os.environ["EMBEDGATE_API_KEY"])
answer = client.embeddings.create(model="${model}", input=["a text", "another"])
print(len(answer.data[0].embedding))
`,
    Node: `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${origin}/v1", apiKey: process.env.EMBEDGATE_API_KEY });
const answer = await client.embeddings.create({ model: "${model}", input: ["a text", "another"] });
console.log(answer.data[0].embedding.length);
`,
    curl: `curl ${origin}/v1/embeddings \\
  -H "Authorization: Bearer $EMBEDGATE_API_KEY" -H "Content-Type: application/json" \\
  -d '{"model": "${model}", "input": ["a text", "another"]}'
`,
    LangChain: `import os
from langchain_openai import OpenAIEmbeddings

embeddings = OpenAIEmbeddings(
    base_url="${origin}/v1", api_key=os.environ["EMBEDGATE_API_KEY"], model="${model}",
    check_embedding_ctx_length=False,  # texts are sent as they are; the service tokenizes
)
print(len(embeddings.embed_query("a text")))
`,
    LlamaIndex: `import os
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

embeddings = OpenAILikeEmbedding(
    api_base="${origin}/v1", api_key=os.environ["EMBEDGATE_API_KEY"], model_name="${model}"
)
print(len(embeddings.get_text_embedding("a text")))
`,
  };
}
