"""Semantic search: rank what was written by how near it is to what is asked."""

import numpy as np

from tests.examples.service import connect, embed

CORPUS = [
    "You can change your password under Settings, Security.",
    "Invoices are sent on the first day of each month.",
    "Our office is closed on public holidays.",
    "To delete your account, write to support.",
    "Payments by card are confirmed within a minute.",
    "Two-factor authentication needs an authenticator app.",
]


def main() -> None:
    client, model = connect()
    corpus = embed(client, model, CORPUS, input_type="document", service_tier="flex")
    for question in ("I forgot my login credentials", "When do I get the bill?"):
        query = embed(client, model, [question], input_type="query", service_tier="priority")[0]
        scores = corpus @ query  # vectors have length one, so this is the cosine
        print(question)
        for place in np.argsort(-scores)[:2]:
            print(f"  {scores[place]:.2f}  {CORPUS[place]}")


if __name__ == "__main__":
    main()
