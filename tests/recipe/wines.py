"""An invented catalogue with the seventeen columns of a real one: lists as Python writes them, ids, links, vintages."""

from __future__ import annotations

import random

import numpy as np

from msr_local.store.rows import Item, Log

KINDS = {
    "Red": ["Cabernet Sauvignon", "Merlot", "Syrah/Shiraz", "Tempranillo", "Malbec"],
    "White": ["Chardonnay", "Riesling", "Sauvignon Blanc", "Albariño"],
    "Sparkling": ["Macabeo", "Xarel-lo", "Parellada"],
    "Rosé": ["Grenache", "Cinsault"],
}
COUNTRIES = {"France": "FR", "Italy": "IT", "Spain": "ES", "Portugal": "PT", "Chile": "CL"}
_DISHES = "Beef Lamb Veal Poultry Pasta Pizza Seafood Cheese Dessert Pork".split()


def wines(count: int = 400) -> list[Item]:
    """The items; title and id stand for the columns WineName and WineID."""
    rng = random.Random(0)
    houses, families = ("Domaine", "Casa", "Quinta"), ("Ruiz", "Almeida", "Lacoste")
    makers = [(10_000 + n, f"{rng.choice(houses)} {rng.choice(families)} {n}")
              for n in range(80)]  # fmt: skip
    found = []
    for number in range(count):
        kind, country = rng.choice(list(KINDS)), rng.choice(list(COUNTRIES))
        region, (maker_id, maker) = rng.randrange(6), rng.choice(makers)
        attributes = {
            "Type": kind,
            "Elaborate": rng.choice(["Varietal/100%", "Assemblage/Blend", "Varietal/>75%"]),
            "Grapes": str(rng.sample(KINDS[kind], rng.choice((1, 2)))),
            "Harmonize": str(rng.sample(_DISHES, 4)),
            "ABV": round(rng.uniform(10, 15), 1),
            "Body": rng.choice(["Full-bodied", "Medium-bodied", "Light-bodied"]),
            "Acidity": rng.choice(["High", "Medium", "Low"]),
            "Code": COUNTRIES[country],
            "Country": country,
            "RegionID": 1000 + 10 * list(COUNTRIES).index(country) + region,
            "RegionName": f"{country[:3]}aria {'Alta Baja Nova Vecchia Verde Rossa'.split()[region]}",
            "WineryID": maker_id,
            "WineryName": maker,
            "Website": f"http://www.{maker_id}.example.com/wines",
            "Vintages": str(list(range(2021, 2021 - rng.randint(20, 70), -1))),
        }
        title = f"{rng.choice('Reserva Grande Cuvée Primavera Selección'.split())} {maker.split()[1]} {number}"
        found.append(Item(str(100_000 + number), title, attributes))
    return found


def drinkers(items: list[Item], users: int = 120) -> Log:
    """People who take one kind of wine of one country, seven times in ten."""
    rng = random.Random(1)
    taken: list[int] = []
    for _ in range(users):
        kind, country = rng.choice(list(KINDS)), rng.choice(list(COUNTRIES))
        liked = [
            n for n, one in enumerate(items) if (one.attributes["Type"], one.attributes["Country"]) == (kind, country)
        ]
        taken += [rng.choice(liked if liked and rng.random() < 0.7 else range(len(items))) for _ in range(12)]
    of = np.repeat(np.arange(users), 12).astype(np.int32)
    names = [f"u{n}" for n in range(users)]
    return Log([one.item_id for one in items], names, of, np.array(taken, np.int32), np.arange(len(taken), dtype=float))
