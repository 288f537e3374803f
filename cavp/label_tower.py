"""The label tower: embeds the words of Greatest Hits, materials and actions, in the space of frames and sounds."""

import difflib
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cavp.video_tower import MAX_WIDTH
from common.errors import InputError, check_range
from data.greatest_hits import ACTIONS, MATERIALS

KINDS = tuple(tuple(sorted(kind)) for kind in (MATERIALS, ACTIONS))
"""The vocabulary by kind: materials, then actions."""
WORDS = tuple(word for kind in KINDS for word in kind)
"""The vocabulary in the order of the rows of the tower's weights."""
_ALIKE = {
    "plastic-bag": "plastic bag, plastic bags, bag, bags",
    "carpet": "carpets, rug, rugs",
    "ceramic": "ceramics, porcelain, mug, mugs, pot, pots, plate, plates",
    "cloth": "fabric, textile, cushion, pillow, couch, sofa, blanket",
    "dirt": "soil, earth, mud",
    "drywall": "plaster, wall, walls",
    "glass": "bottle, bottles, window, windows",
    "grass": "lawn",
    "gravel": "pebbles",
    "leaf": "leaves, foliage, bush, hedge, plant, plants",
    "metal": "metallic, steel, iron, tin, aluminium, aluminum, brass, railing",
    "paper": "cardboard, book, books, newspaper",
    "rock": "rocks, stone, stones, concrete, brick, bricks",
    "tile": "tiles, tiled",
    "water": "pool, puddle",
    "wood": "wooden, timber, log, logs, plank, planks, tree, trunk",
    "hit": "hits, hitting, strike, strikes, striking, struck, tap, taps, tapping, knock, knocking, beat, beating",
    "scratch": "scratches, scratching, scrape, scrapes, scraping, rub, rubbing",
}
_KNOWN = {word: word for word in WORDS} | {
    other: word for word, others in _ALIKE.items() for other in others.split(", ")
}
_SINGLE = sorted(word for word in _KNOWN if " " not in word)
_PHRASES = sorted((phrase for phrase in _KNOWN if " " in phrase), key=len, reverse=True)
_LEAST_LIKENESS = 0.76  # of spellings, as difflib counts it
_SHORTEST_STEM = 3
_MOST_NAMED = 4  # unknown words in an error
_EMPTY = frozenset(
    [
        "a",
        "an",
        "and",
        "any",
        "at",
        "being",
        "by",
        "drumstick",
        "drumsticks",
        "floor",
        "in",
        "into",
        "it",
        "like",
        "of",
        "on",
        "onto",
        "sound",
        "sounds",
        "something",
        "stick",
        "sticks",
        "table",
        "the",
        "to",
        "touching",
        "wet",
        "with",
        "dry",
        "hard",
    ]
)


def words_of(text: str) -> list[int]:
    """Return the row numbers of the words in a text, in the order of the text, each once.

    Args:
        text: for instance "hitting a plastic bag with a drumstick". Synonyms of a word in `WORDS` count as that word;
            words that do not describe a sound are skipped.

    Raises:
        InputError: a word is unknown, or no word is left.
    """
    rest = f" {' '.join(re.findall(r'[a-z-]+', text.lower()))} "
    for phrase in _PHRASES:
        rest = rest.replace(f" {phrase} ", f" {_KNOWN[phrase]} ")
    spoken = [word for word in rest.split() if word not in _EMPTY]
    unknown = [word for word in spoken if word not in _KNOWN]
    if unknown or not spoken:
        raise InputError(f"The prompt {text!r} {_refusal(list(dict.fromkeys(unknown)))}")
    return list(dict.fromkeys(WORDS.index(_KNOWN[word]) for word in spoken))


def nearest_words(word: str) -> list[str]:
    """Return up to two known words, no two forms of one word, that are spelt like an unknown one, the nearest first.

    If other forms of the word are known, the nearest of them is returned alone: "scratches" for "scratched".
    """
    alike = [known for known in _SINGLE if _stem(known) == _stem(word)]
    stems = difflib.get_close_matches(_stem(word), {_stem(known) for known in _SINGLE}, n=2, cutoff=_LEAST_LIKENESS)
    near = {known for known in _SINGLE if _stem(known) in stems}
    near |= set(difflib.get_close_matches(word, _SINGLE, n=2, cutoff=_LEAST_LIKENESS))
    by_stem: dict[str, str] = {}
    for known in difflib.get_close_matches(word, alike or near, n=_MOST_NAMED, cutoff=0.0):
        by_stem.setdefault(_stem(known), known)
    return list(by_stem.values())[:2]


def _stem(word: str) -> str:
    """Return a word without the ending of a plural or a verb, and with a doubled last letter once."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            word = word.removesuffix(ending)
            break
    return word[:-1] if word[-1:] == word[-2:-1] and len(word) > _SHORTEST_STEM else word


def _refusal(unknown: Sequence[str]) -> str:
    """Return what is wrong with a prompt and the words to use, those that are nearest to the unknown ones first."""
    if not unknown:
        return f"holds no word that this model knows: use {', '.join(WORDS)}, or a sound."
    names = [repr(word) for word in unknown[:_MOST_NAMED]]
    if len(unknown) > _MOST_NAMED:
        names.append(f"{len(unknown) - _MOST_NAMED} more")
    named = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    near = dict.fromkeys(known for word in unknown[:_MOST_NAMED] for known in nearest_words(word))
    nearest = f"{', '.join(near)} (the nearest), " if near else ""
    return (
        f"holds {named}, which {'is no word' if len(unknown) == 1 else 'are no words'} that this model knows: use "
        f"{nearest}{', '.join(word for word in WORDS if word not in near)}, or a sound."
    )


class LabelTower(nn.Module):
    """A small network on the mean of the words' vectors, which makes the embedding independent of their order.

    Args:
        embed_dim: width D of the embedding.
        width: width of the words' vectors and of the hidden layer.

    Attributes:
        embed_dim: width D of the embedding.
    """

    def __init__(self, embed_dim: int = 512, width: int = 256) -> None:
        super().__init__()
        for name, value in (("embed_dim", embed_dim), ("width", width)):
            check_range(f"label_encoder.{name}", value, 1, MAX_WIDTH, whole=True)
        self.embed_dim = embed_dim
        self.words = nn.EmbeddingBag(len(WORDS), width, mode="mean")
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, embed_dim))

    def forward(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Embed sets of words.

        Args:
            rows: B lists of indices into `WORDS`, at least one index each.

        Returns:
            (B, D), not normalised.
        """
        device = self.words.weight.device
        flat = torch.tensor([row for text in rows for row in text], device=device)
        lengths = torch.tensor([0, *(len(text) for text in rows)], device=device)
        return self.layers(self.words(flat, lengths.cumsum(0)[:-1]))
