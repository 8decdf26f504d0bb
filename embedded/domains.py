"""Invented catalogues of many kinds, so that the summariser learns to read attributes rather than a vocabulary."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from msr_local.store.rows import Item

from .summaries import said

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Thing:
    """An item, the caption of its picture, and its terms in the order of its description."""

    item: Item
    caption: str | None
    terms: tuple[str, ...]


@dataclass(slots=True)
class Catalogue:
    """Things that belong together, and which of their terms are adjectives."""

    name: str
    things: list[Thing]
    adjectives: frozenset[str] = frozenset()
    by_term: dict[str, list[Thing]] = field(init=False)

    def __post_init__(self) -> None:
        self.by_term = {}
        for thing in self.things:
            for term in thing.terms:
                self.by_term.setdefault(term, []).append(thing)


@dataclass(frozen=True, slots=True)
class Domain:
    """Facets of a kind of item as {field: words}; a star marks adjectives."""

    facets: dict[str, Words]
    titles: Words  # of which titles are put together
    distractors: Words = ("Year", "Price")


def _words(text: str) -> Words:
    return tuple(word.replace("_", " ") for word in text.split())


DOMAINS: dict[str, Domain] = {
    "books": Domain(
        {
            "Genres": _words(
                """fantasy mystery romance thriller biography history poetry horror satire memoir travel science
                philosophy western dystopia detective essays folklore espionage adventure classics crime humour"""
            ),
            "Themes": _words("family war grief friendship revenge exile faith ambition slavery migration love nature"),
            "Tone*": _words("dark witty tender bleak hopeful dreamy tense gentle ironic melancholic"),
        },
        _words("The A Winter Garden River House Letters Last Daughter Silent Salt Road King Night Paper Kingdom Glass"),
        ("Year", "Pages", "Author"),
    ),
    "recipes": Domain(
        {
            "Cuisine*": _words(
                "Thai Mexican Indian Italian French Greek Japanese Korean Lebanese Moroccan Ethiopian Turkish"
            ),
            "Course": _words("dessert breakfast soup salad snack bread starter stew cake curry pasta drink"),
            "Diet*": _words("vegan vegetarian gluten-free low-carb spicy hearty quick raw"),
            "Main ingredient": _words(
                "chicken lentils salmon mushrooms tofu aubergine lamb chickpeas pumpkin rice potatoes beef prawns"
            ),
        },
        _words("Roast Golden Simple Sunday Smoky Lemon Garlic Bowl Pot Crisp Warm Harvest Street Plate Bake"),
        ("Minutes", "Serves"),
    ),
    "games": Domain(
        {
            "Genres": _words(
                """strategy puzzle platformer racing shooter simulation RPG roguelike stealth survival sports
                fighting arcade rhythm sandbox card_game tower_defence management adventure"""
            ),
            "Setting": _words("space medieval post-apocalypse jungle cyberpunk desert ocean western steampunk school"),
            "Mode": _words("co-op single-player multiplayer online hotseat"),
        },
        _words("Iron Star Quest Drift Legends Shadow Hollow Tiny Empire Void Runner Pixel Siege Ember Protocol II"),
        ("Year", "Studio", "Rating"),
    ),
    "music": Domain(
        {
            "Genre": _words(
                """jazz rock techno folk soul ambient metal hip-hop blues reggae opera punk house disco country
                baroque gospel funk indie grunge bossa_nova trance"""
            ),
            "Mood*": _words("mellow energetic gloomy romantic playful dreamy angry calm nostalgic"),
            "Instrument": _words("piano guitar violin saxophone synthesiser cello drums harp trumpet accordion"),
        },
        _words("Blue Midnight Echoes Slow Train Neon Summer Hearts Static Waltz Rain Sessions Lights Away Fever"),
        ("Year", "Label", "Length"),
    ),
    "toys": Domain(
        {
            "Type": _words("puzzle doll train building_set board_game kite plush_animal drum robot craft_kit ball"),
            "Material*": _words("wooden plastic fabric metal cardboard magnetic"),
            "Theme": _words("dinosaurs pirates farm space knights unicorns vehicles ocean circus fairies"),
        },
        _words("Happy Little Big Wonder Play Magic Super Mini Jumbo Box World Friends Set Fun"),
        ("Price", "Age"),
    ),
    "furniture": Domain(
        {
            "Category": _words("chair table sofa shelf desk bed wardrobe stool bench cabinet mirror lamp rug"),
            "Style*": _words("rustic modern industrial Victorian Nordic minimalist vintage baroque"),
            "Material": _words("oak steel glass velvet leather bamboo marble rattan walnut pine"),
            "Room": _words("kitchen bedroom office hallway garden nursery bathroom"),
        },
        _words("Alma Fjord Hank Lund Oslo Vera Nook Tilda Bruno Arc Mila Stern Kant Ivo"),
        ("Price", "Width"),
    ),
    "trips": Domain(
        {
            "Place": _words("Iceland Scotland Sicily Lisbon Kyoto Patagonia Andalusia Provence Cornwall Crete Norway"),
            "Activities": _words(
                "hiking sailing museums cycling birdwatching skiing surfing wine_tasting camping kayaking climbing"
            ),
            "For*": _words("family-friendly luxurious adventurous romantic quiet budget"),
        },
        _words("Hidden Coast Week Trails Grand Tour Weekend Island Escape Great Wild Old Town Northern Light"),
        ("Price", "Days"),
    ),
    "courses": Domain(
        {
            "Subjects": _words(
                """statistics painting astronomy pottery accounting photography botany coding geology anatomy marketing
                psychology sewing economics chemistry drawing carpentry linguistics"""
            ),
            "Level*": _words("introductory advanced intermediate"),
            "Format": _words("lectures workshop seminar evening_class podcast summer_school"),
        },
        _words("Foundations Introduction Practical Modern Principles Hands-on Studio Essentials Ideas in Art Methods"),
        ("Weeks", "Teacher"),
    ),
    "clothes": Domain(
        {
            "Category": _words(
                "shirts coats jeans hats scarves sandals gloves belts jumpers blouses trainers suits skirts socks"
            ),
            "Colour*": _words(
                "crimson turquoise ivory olive black navy lilac mustard coral grey emerald brown white scarlet"
            ),
            "Pattern*": _words("tartan dotted striped floral paisley plain herringbone camouflage checked"),
            "Material": _words("linen wool denim silk corduroy fleece cashmere cotton"),
        },
        _words("Harper Lane Cedar North Peak Classic Soft Urban Fit Line Ridge Mono Ease Basic Edition"),
        ("Price", "Brand"),
    ),
    "news": Domain(
        {
            "Topics": _words(
                """politics football climate elections banking health royals space_travel crime housing farming tennis
                technology energy schools cinema trade weather cycling gardening transport"""
            ),
            "Type": _words("interview analysis opinion reportage obituary quiz review"),
        },
        _words("Why How What After the Ministers Talks Record Storm Deal City New Report Vote Begins Ends Over"),
        ("Date", "Words"),
    ),
    # The rest is held out: never trained on.
    "plants": Domain(
        {
            "Type": _words("fern orchid cactus palm rose herb shrub climber bulb grass conifer succulent"),
            "Light*": _words("shady sunny half-shaded bright"),
            "Uses": _words("balcony hedge rockery pond windowsill bees terrarium border"),
            "Flowers*": _words("violet scarlet cream apricot golden pale-blue"),
        },
        _words("Mountain Queen Silver Dwarf Weeping Star Common Giant Royal Lace Fire Prince Pearl"),
        ("Height", "Price"),
    ),
    "podcasts": Domain(
        {
            "Topics": _words(
                """archaeology parenting chess true_crime startups mythology sleep wildlife knitting investing aviation
                comedy languages running meditation inventions"""
            ),
            "Style*": _words("chatty scripted investigative improvised educational"),
        },
        _words("The Daily Deep Room Hour Table Curious Out Loud Between Us Stories Notes Radio Small Talk"),
        ("Minutes", "Host"),
    ),
    "wines": Domain(
        {
            "Kind": _words("Riesling Merlot Syrah Chardonnay Malbec rosé Tempranillo port cava"),
            "Taste*": _words("fruity oaky dry smoky floral crisp earthy buttery peppery"),
            "Goes with": _words("cheese seafood game pasta dessert barbecue oysters"),
        },
        _words("Château Domaine Casa Clos Vieux Alto Valle Monte Grand Cuvée Reserva Quinta Terra"),
        ("Vintage", "Price"),
    ),
}  # fmt: skip
HELD_OUT = ("plants", "podcasts", "wines")
TRAINED = tuple(name for name in DOMAINS if name not in HELD_OUT)
_TAGS = ("Tags", "Genres", "Keywords", "Categories", "Topics", "Labels")


def catalogue(name: str, rng: random.Random, size: int = 90) -> Catalogue:
    """A catalogue of a domain, with fields, words and spelling of its own; now and then its words mean nothing."""
    domain = DOMAINS[name]
    chosen = rng.sample(list(domain.facets), k=min(len(domain.facets), rng.choice((2, 2, 3, 4))))
    facets = {facet: domain.facets[facet] for facet in domain.facets if facet in chosen}
    invented = rng.random() < 0.08 and name not in HELD_OUT
    facets = {
        facet: _invented(rng) if invented else tuple(rng.sample(words, k=min(len(words), rng.randint(5, 14))))
        for facet, words in facets.items()
    }
    capitals = rng.random() < 0.5
    shown = {word: _capital(word) if capitals else word for words in facets.values() for word in words}
    adjectives = frozenset(said(word) for facet, words in facets.items() if facet.endswith("*") for word in words)
    one_list = rng.random() < 0.45
    heading, distractors = rng.choice(_TAGS), rng.sample(domain.distractors, k=rng.choice((0, 0, 1)))
    most = rng.choice((1, 1, 2))
    things = []
    for number in range(size):
        values = {facet: rng.sample(words, k=rng.randint(1, most)) for facet, words in facets.items()}
        terms = tuple(dict.fromkeys(said(shown[word]) for words in values.values() for word in words))
        attributes: dict[str, object] = {distractor: _distraction(distractor, rng) for distractor in distractors}
        if one_list:
            attributes[heading] = [shown[word] for words in values.values() for word in words]
        else:
            attributes |= {facet.rstrip("*"): [shown[w] for w in words] for facet, words in values.items()}
        title = " ".join(rng.sample(domain.titles, k=rng.choice((2, 2, 3))))
        things.append(Thing(Item(f"{name}-{number}", title, attributes), None, terms))
    return Catalogue("invented", things, adjectives)


def _capital(word: str) -> str:
    return word[0].upper() + word[1:]


def _distraction(heading: str, rng: random.Random) -> str:
    if heading in ("Author", "Studio", "Label", "Teacher", "Brand", "Host"):
        return " ".join(rng.choice(_NAMES[part]) for part in (0, 1))
    if heading in ("Year", "Vintage"):
        return str(rng.randint(1960, 2024))
    if heading == "Price":
        return f"{rng.randint(3, 199)}.{rng.choice(('00', '50', '90', '99'))}"
    return str(rng.randint(2, 400))


_NAMES = (
    _words("Ida Jonas Mara Felix Nora Tariq Wen Olga Pablo Ruth Anil Greta Sven Lucia Otis Hana"),
    _words("Brandt Okafor Silva Lund Novak Haddad Moreau Kim Castell Fry Ono Weiss Abadi Reyes"),
)


def _invented(rng: random.Random) -> Words:
    def syllables(count: int) -> str:
        return "".join(rng.choice(_HEADS) + rng.choice(_TAILS) for _ in range(count))

    return tuple({syllables(rng.choice((1, 2, 2, 3))): None for _ in range(rng.randint(5, 10))})


_HEADS: Sequence[str] = "b br d f g gl h k l m n p pl r sk t tr v w z".split()
_TAILS: Sequence[str] = "a al an ar e el en i in ir o ol on or u um ul".split()
