"""A sample database of a small shop: products, reviews and tickets, made up here, the same in every folder.

Texts are put together from phrases about what such products do well or badly, so that a summary, a class or a
neighbour of one says something.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import duckdb

SEED = 20260401
REVIEWS, TICKETS = 300, 160
_FIRST_DAY = date(2026, 1, 5)


class _Kind(NamedTuple):
    """Products of one kind: their names with prices in dollars, and what people find good and bad of them."""

    name: str
    products: Sequence[tuple[str, float]]
    good: Sequence[str]
    bad: Sequence[str]


_KINDS = (
    _Kind(
        "lamp",
        [
            ("Aurora desk lamp", 49.0),
            ("Pebble night light", 19.5),
            ("Mast floor lamp", 129.0),
            ("Clip reading lamp", 24.9),
        ],
        [
            "the light is warm and does not flicker",
            "the dimmer goes down to almost nothing",
            "the arm stays where I put it",
            "my daughter falls asleep with it",
            "it lights the whole table without glare",
        ],
        [
            "it hums at the lowest setting",
            "the switch is on the cable, far too low",
            "the bulb died after nine days",
            "the base is so light that the cat tips it over",
            "the colour is much colder than in the picture",
        ],
    ),
    _Kind(
        "chair",
        [
            ("Fjord office chair", 249.0),
            ("Tide dining chair", 89.0),
            ("Nook armchair", 399.0),
            ("Stack garden chair", 45.0),
        ],
        [
            "my back no longer hurts after a long day",
            "it took ten minutes to put together",
            "the fabric wipes clean",
            "six people of very different size sat well in it",
            "it looks far more expensive than it was",
        ],
        [
            "one screw was missing and two were the wrong length",
            "it wobbles on every floor we have",
            "the armrest came loose within a month",
            "the seat is too hard for more than an hour",
            "it smelled of glue for weeks",
        ],
    ),
    _Kind(
        "kettle",
        [("Rapid kettle 1.7 l", 39.9), ("Gooseneck kettle", 79.0), ("Travel kettle", 29.0), ("Glass kettle", 54.5)],
        [
            "a litre boils in under three minutes",
            "the spout pours exactly where I want",
            "it keeps tea at 80 degrees for an hour",
            "it is quiet enough for early mornings",
            "the limescale filter really works",
        ],
        [
            "the lid springs open and spits hot water",
            "it leaks at the gauge since the second week",
            "the handle gets too hot to hold",
            "it tastes of plastic however often I rinse it",
            "it switches off before the water boils",
        ],
    ),
    _Kind(
        "headphones",
        [("Hush headphones", 199.0), ("Sprint earbuds", 59.0), ("Studio headphones", 149.0), ("Kids headphones", 25.0)],
        [
            "the train disappears when I switch them on",
            "the battery lasted a whole trip to Lisbon",
            "voices on calls are clear",
            "they stay in while running",
            "the limit on volume is a relief for parents",
        ],
        [
            "the left side crackles when it is cold",
            "they lose the connection in my own kitchen",
            "the ear pads peeled after two months",
            "callers say that I sound like a robot",
            "the app wants my location and an account",
        ],
    ),
    _Kind(
        "backpack",
        [
            ("Ridge backpack 28 l", 119.0),
            ("Metro backpack", 85.0),
            ("Pocket daypack", 35.0),
            ("Wheel cabin bag", 169.0),
        ],
        [
            "it came dry through an hour of rain",
            "the laptop has a place of its own",
            "the straps do not cut in, even when it is full",
            "it fits under the seat of every airline so far",
            "every pocket is where my hand expects it",
        ],
        [
            "the zip tore on the second trip",
            "water gets in at the seams",
            "the wheels are louder than a tram",
            "the straps slip and have to be tightened every hour",
            "it is smaller than the litres promise",
        ],
    ),
    _Kind(
        "plant",
        [("Monstera, 60 cm", 34.0), ("Herb box", 22.0), ("Olive tree, 90 cm", 69.0), ("Cactus trio", 18.0)],
        [
            "it grew two new leaves in a month",
            "it arrived better packed than any glass",
            "the basil outlived three from the market",
            "even I have not managed to kill it",
            "the note on watering was the best I have read",
        ],
        [
            "half of the leaves were brown on arrival",
            "there were little flies in the soil",
            "the pot was broken",
            "it is hardly 40 cm tall",
            "it lost all leaves in the first week, and I did what the note says",
        ],
    ),
)

_OPENINGS = {
    "good": [
        "Very happy: ",
        "",
        "",
        "Bought it for my mother. ",
        "Second one already, because ",
        "What a surprise, ",
        "Honest five stars: ",
        "I was sceptical, but ",
    ],
    "bad": [
        "",
        "Disappointed. ",
        "Not again: ",
        "",
        "I wanted to like it, but ",
        "Sent back. ",
        "For this price? ",
        "Careful: ",
    ],
    "mixed": ["", "Mixed feelings. ", "Fine, mostly: ", "After a month: ", "It does the job: "],
}
_DELIVERY_GOOD = [
    "It came the next day.",
    "Delivered a day early.",
    "The driver even carried it up.",
    "Quick delivery, little packaging.",
]
_DELIVERY_BAD = [
    "The delivery took three weeks.",
    "It was left in the rain in front of the door.",
    "The parcel went to a neighbour I do not know.",
    "Tracking said delivered two days before it was.",
    "It came late, and nobody answered my mails.",
]
_CLOSINGS = {
    "good": ["", "", "", "Would buy again.", "The colour is lovely, too.", "Photo follows.", ":-)", "Recommended."],
    "bad": [
        "",
        "",
        "",
        "Please answer my mail of the 3rd.",
        "Photo follows.",
        "I want my money back.",
        ":-(",
        "Save yours.",
    ],
    "mixed": ["", "", "We will see how long it lasts.", "My partner disagrees, by the way.", "Three stars, then."],
}
_FOREIGN = (
    (5, "Schneller Versand, gute Verarbeitung, gerne wieder."),
    (1, "Nach zwei Wochen kaputt, und der Kundendienst meldet sich nicht."),
    (2, "Die Lieferung kam zehn Tage zu spät. Das Produkt selbst ist in Ordnung."),
    (5, "Parfait, exactement comme sur la photo."),
    (2, "Arrivé cassé. J'attends toujours le remboursement."),
    (4, "Muy buena calidad, aunque el manual solo está en inglés."),
    (1, "No funciona desde el primer día."),
    (4, "Bello e robusto, ma il colore è un po' diverso."),
    (3, "Op zich prima, alleen de verpakking was half open."),
)
_SHORT = (
    (5, "Great, thanks!"),
    (5, "Perfect."),
    (1, "Broken on arrival."),
    (3, "ok"),
    (4, "Good value."),
    (1, "Never again."),
)

_TICKETS: Sequence[tuple[str, str, Sequence[str]]] = (
    (
        "high",
        "Order has not arrived",
        [
            "I ordered the {p} on {d} and it has still not arrived. The tracking page has not changed for {n} days.",
            "Where is my {p}? Your mail promised {d}. I have to leave on Friday.",
            "Order {o}: the courier says delivered, but there is nothing at the door and no neighbour has it.",
        ],
    ),
    (
        "high",
        "Charged twice",
        [
            "My card was charged twice for order {o}, {n} days apart. Please send one of the two back.",
            "The {p} was {c} dollars on your page and {c2} on my bill. Please correct order {o}.",
        ],
    ),
    (
        "normal",
        "Return",
        [
            "I would like to send the {p} back, it is not what I expected. Who pays for the parcel?",
            "The {p} of order {o} does not fit. I have the box, but no label. Can you send one?",
            "Return of order {o} was received on {d}, says the post. When will I see the money?",
        ],
    ),
    (
        "high",
        "It is broken",
        [
            "After {n} days the {p} stopped working: {b}. I have the receipt. Repair or a new one?",
            "The {p} came broken: {b}. I took photos before I opened the second layer of paper.",
        ],
    ),
    (
        "normal",
        "Question before buying",
        [
            "Can I have the {p} in another colour, and does that take longer?",
            "How long is the guarantee of the {p}, and does it cover wear?",
            "Will the {p} be on sale in spring? I can wait {n} weeks, but not longer.",
        ],
    ),
    (
        "low",
        "Change of address",
        [
            "I move on {d}. Please send order {o} to the new address in my account.",
            "Wrong house number in order {o}: it is {n}, not {n2}. It has not left yet, says the page.",
        ],
    ),
    (
        "normal",
        "Account",
        [
            "I cannot log in since {d}; the mail with the new password never comes, not even to spam.",
            "Please delete my account and everything you know about me. Order {o} was my last.",
            "The app shows the orders of another customer under my name. That worries me.",
        ],
    ),
    (
        "low",
        "Praise",
        [
            "I just want to say that Mira on the phone solved in {n} minutes what the chat could not in a week.",
            "The {p} is a joy: {g}. Please pass it on to whoever designed it.",
        ],
    ),
)
_NAMES = [
    "Ada",
    "Bruno",
    "Chioma",
    "Dario",
    "Elif",
    "Farid",
    "Greta",
    "Hiro",
    "Ines",
    "Jonas",
    "Katya",
    "Liam",
    "Mei",
    "Noor",
    "Olga",
    "Pablo",
    "Quinn",
    "Rosa",
    "Sven",
    "Tariq",
    "Uma",
    "Vera",
    "Wanda",
    "Yusuf",
    "Zoe",
]
_CHANNELS = ["mail", "mail", "mail", "chat", "chat", "phone", "app"]


def make_shop(path: str | os.PathLike[str]) -> dict[str, int]:
    """Makes the database at `path`, where there is none; returns the rows of its tables. Raises DuckDB's errors."""
    chosen = random.Random(SEED)
    tables = {"products": _products(), "reviews": _reviews(chosen), "tickets": _tickets(chosen)}
    with duckdb.connect(os.fspath(path)) as con:
        con.execute(
            "CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR, product VARCHAR, price DECIMAL(8, 2));"
            "CREATE TABLE reviews (id INTEGER PRIMARY KEY, product_id INTEGER, product VARCHAR, stars INTEGER, "
            "customer VARCHAR, written DATE, body VARCHAR);"
            "CREATE TABLE tickets (id INTEGER PRIMARY KEY, product_id INTEGER, opened TIMESTAMP, customer VARCHAR, "
            "channel VARCHAR, priority VARCHAR, subject VARCHAR, body VARCHAR)"
        )
        for name, rows in tables.items():
            con.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return {name: len(rows) for name, rows in tables.items()}


def _products() -> list[tuple[object, ...]]:
    products = [(product, kind.name, price) for kind in _KINDS for product, price in kind.products]
    return [(number, *product) for number, product in enumerate(products, 1)]


def _kind_of(product_id: int) -> _Kind:
    return _KINDS[(product_id - 1) // len(_KINDS[0].products)]


def _reviews(chosen: random.Random) -> list[tuple[object, ...]]:
    count = len(_products())
    rows: list[tuple[object, ...]] = []
    for number in range(1, REVIEWS + 1):
        product_id = chosen.randint(1, count)
        kind, lot = _kind_of(product_id), chosen.random()
        if lot < 0.08:
            stars, body = chosen.choice(_FOREIGN)
        elif lot < 0.14:
            stars, body = chosen.choice(_SHORT)
        else:
            stars, body = _review(chosen, kind)
        written = _FIRST_DAY + timedelta(days=chosen.randint(0, 80))
        rows.append((number, product_id, kind.name, stars, chosen.choice(_NAMES), written, body))
    return rows


def _review(chosen: random.Random, kind: _Kind) -> tuple[int, str]:
    mood = chosen.choices(["good", "bad", "mixed"], [5, 3, 3])[0]
    if mood == "good":
        stars, points = chosen.choice([4, 5, 5]), " and ".join(chosen.sample(kind.good, chosen.randint(1, 2)))
    elif mood == "bad":
        stars, points = chosen.choice([1, 1, 2]), ", and ".join(chosen.sample(kind.bad, chosen.randint(1, 2)))
    else:
        stars = chosen.choice([2, 3, 3, 4])
        points = f"{chosen.choice(kind.good)}, {chosen.choice(['but', 'only', 'yet'])} {chosen.choice(kind.bad)}"
    opening = chosen.choice(_OPENINGS[mood])
    said = (
        f"{opening}{points}."
        if opening and not opening.endswith(". ")
        else f"{opening}{points[0].upper()}{points[1:]}."
    )
    if chosen.random() < 0.35:
        good = stars > 3 if chosen.random() < 0.8 else stars <= 3
        said += f" {chosen.choice(_DELIVERY_GOOD if good else _DELIVERY_BAD)}"
    return stars, f"{said} {chosen.choice(_CLOSINGS[mood])}".rstrip()


def _tickets(chosen: random.Random) -> list[tuple[object, ...]]:
    products = _products()
    rows: list[tuple[object, ...]] = []
    for number in range(1, TICKETS + 1):
        product_id, name, _, price = chosen.choice(products)
        assert isinstance(product_id, int) and isinstance(price, float)
        kind = _kind_of(product_id)
        priority, subject, texts = chosen.choice(_TICKETS)
        day = _FIRST_DAY + timedelta(days=chosen.randint(0, 80))
        body = chosen.choice(texts).format(
            p=name,
            d=f"{day:%d %B}",
            n=chosen.randint(2, 30),
            n2=chosen.randint(31, 90),
            o=f"AQ-{chosen.randint(10_000, 99_999)}",
            c=f"{price:.2f}",
            c2=f"{price * 1.2:.2f}",
            b=chosen.choice(kind.bad),
            g=chosen.choice(kind.good),
        )
        opened = datetime(day.year, day.month, day.day) + timedelta(days=1, minutes=chosen.randint(0, 1439))
        greeting = chosen.choice(["", "", "Hello, ", "Hi there, ", "Dear team, "])
        body = f"{greeting}{body}" + chosen.choice(["", "", f" {chosen.choice(_NAMES)}", " Thank you!", " Regards"])
        channel = chosen.choice(_CHANNELS)
        rows.append((number, product_id, opened, chosen.choice(_NAMES), channel, priority, subject, body))
    return rows
