"""The content words of a text: those that say what something is, and not how the sentence is built."""

from __future__ import annotations

from collections.abc import Iterator

_SHORTEST = 3  # letters: "red" and "tea" say something
# Function words, then the words with which a summary connects what it says ("still some", "less than before").
_FILLERS = """
    about above after again all also although always among and another any are around because been before being below
    between both but can could did does doing down during each either else ever every few for from further had has have
    having her here hers him his how into its itself just many may might more most much must neither never nor not off
    once only other others our out over own per same several she should since some such than that the their theirs them
    then there these they this those though through too toward towards under until upon very was well were what when
    where whether which while who whom whose why will with within without would yet you your

    anymore appear appeared chose chosen choose currently enjoy enjoyed especially genre hardly increasingly interest
    interested item kind lately later latest least less like liked likely longer mainly mostly movie next now often
    overall particularly past people person prefer preference preferred previously rather recent recently remain seem
    seemed show slightly something sometimes sort still summary tend tended theme thing usually user various want wanted
    """


def content_words(text: str) -> dict[str, str]:
    """{key: word} of a text in reading order; words that differ only in case or plural have the same key.

    A word is shown in lower case, as it first stands there.
    """
    found: dict[str, str] = {}
    for word in _words(text):
        key = _key(word)
        if key not in _FILLER_KEYS:
            found.setdefault(key, word)
    return found


def _words(text: str) -> Iterator[str]:
    for raw in text.replace("’", "'").split():
        word = raw.strip(".,;:!?\"'()[]*-–—“”…/&").lower().removesuffix("'s")
        if len(word) >= _SHORTEST and any(letter.isalpha() for letter in word):
            yield word


def _key(word: str) -> str:
    """The word without its plural: "dresses" and "dress", "movies" and "movie", "berries" and "berry" are the same."""
    if len(word) <= _SHORTEST:
        return word
    if word.endswith("y") and word[-2] not in "aeiou":
        word = word[:-1] + "ie"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return word[:-1] if word.endswith(("se", "xe", "ze", "che", "she", "oe")) else word


_FILLER_KEYS = frozenset(map(_key, _FILLERS.split()))
