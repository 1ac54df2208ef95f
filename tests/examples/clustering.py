"""Clustering: group texts that nobody labelled, by k-means on the sphere."""

import numpy as np

from tests.examples.service import Matrix, connect, embed

TEXTS = [
    "The striker scored twice in the final.",
    "The goalkeeper saved a penalty.",
    "Bake the bread for forty minutes.",
    "Knead the dough until it is smooth.",
    "The central bank raised interest rates.",
    "Bond yields fell after the announcement.",
    "The match ended in a draw.",
    "Add a pinch of salt to the soup.",
    "Inflation slowed in the third quarter.",
]


def cluster(vectors: Matrix, count: int) -> tuple[list[int], Matrix]:
    """A group for each vector, and the groups' middles (spherical k-means, Dhillon and Modha 2001)."""
    chosen = [0]
    while len(chosen) < count:  # begin with middles that are far from each other
        nearest = (vectors @ vectors[chosen].T).max(axis=1)
        chosen.append(int(nearest.argmin()))
    middles = vectors[chosen]
    for _ in range(20):
        groups = (vectors @ middles.T).argmax(axis=1)
        sums = np.stack([vectors[groups == group].sum(axis=0) for group in range(count)])
        middles = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return [int(group) for group in groups], middles


def main() -> None:
    client, model = connect()
    vectors = embed(client, model, TEXTS, service_tier="flex")
    groups, middles = cluster(vectors, 3)
    for group in range(3):
        members = [place for place, own in enumerate(groups) if own == group]
        centre = max(members, key=lambda place: float(vectors[place] @ middles[group]))
        print(f"like '{TEXTS[centre]}'")
        for place in members:
            print(f"  {TEXTS[place]}")


if __name__ == "__main__":
    main()
