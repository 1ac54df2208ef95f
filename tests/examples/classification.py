"""Classification: a handful of examples for each label, and the nearest middle wins."""

import numpy as np

from tests.examples.service import connect, embed

EXAMPLES = {
    "billing": ["I was charged twice.", "Where is my refund?", "The invoice shows the wrong amount."],
    "technical": ["The app crashes when I open it.", "I get an error message.", "The page does not load."],
    "delivery": ["My parcel has not arrived.", "The tracking number is wrong.", "It was delivered to my neighbour."],
}
NEW = ["You took the money from my card two times", "Nothing happens when I press the button", "The courier never came"]


def main() -> None:
    client, model = connect()
    labels = list(EXAMPLES)
    vectors = embed(client, model, [text for texts in EXAMPLES.values() for text in texts])
    middles = vectors.reshape(len(labels), -1, vectors.shape[1]).mean(axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    for text, vector in zip(NEW, embed(client, model, NEW), strict=True):
        scores = middles @ vector
        first, second = np.argsort(-scores)[:2]
        print(f"{labels[first]:<10} (ahead of {labels[second]} by {scores[first] - scores[second]:.2f})  {text}")


if __name__ == "__main__":
    main()
