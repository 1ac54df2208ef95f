"""Recommendation: from what a reader liked to what comes next, without saying the same thing twice."""

import numpy as np

from tests.examples.service import Matrix, connect, embed

ARTICLES = [
    "How to grow tomatoes on a balcony",
    "Growing tomatoes in pots: a guide",
    "Five herbs that thrive in shade",
    "Watering plants while on holiday",
    "The history of the steam engine",
    "Building a raised garden bed",
    "Learning to play the piano as an adult",
    "Which garden vegetables freeze well",
]
LIKED = [0, 2]
_NEWNESS = 0.4


def recommend(vectors: Matrix, liked: list[int], count: int) -> list[int]:
    """Near to what was liked, and not too near to each other.

    That is maximal marginal relevance (Carbonell and Goldstein 1998).
    """
    taste = vectors[liked].mean(axis=0)
    chosen: list[int] = []
    while len(chosen) < count:
        left = [place for place in range(len(vectors)) if place not in (*liked, *chosen)]
        nearness = vectors[left] @ taste
        sameness = (vectors[left] @ vectors[[*liked, *chosen]].T).max(axis=1)
        chosen.append(left[int(np.argmax((1 - _NEWNESS) * nearness - _NEWNESS * sameness))])
    return chosen


def main() -> None:
    client, model = connect()
    vectors = embed(client, model, ARTICLES, service_tier="flex")
    for place in LIKED:
        print(f"liked:  {ARTICLES[place]}")
    for place in recommend(vectors, LIKED, 3):
        print(f"next:   {ARTICLES[place]}")


if __name__ == "__main__":
    main()
