"""Texts full of what looks like personal data, and of what hides it. `text(seed)` is the same in every run."""

from __future__ import annotations

import random

WORDS = [
    "the", "a", "of", "order", "invoice", "ship", "to", "please", "call", "me", "at", "phone", "number", "card",
    "account", "bank", "ssn", "social", "security", "my", "email", "is", "ip", "address", "server", "iban",
    "transfer", "on", "between", "and", "until", "from", "page", "pp", "ext", "tel", "fax", "version", "v2", "date",
    "id", "ref", "price", "USD", "costs", "it's", "naïve", "café", "東京", "привет", "number:", "#",
]  # fmt: skip
SEPARATORS = [
    " ", "  ", "\n", "\t", ", ", "; ", ": ", " - ", "-", "/", ".", "(", ")", "[", "]", '"', "'", "{", "}", "<",
    ">", "=", "&", "?", "", "", "x", "|", "\u00a0", "\u200b", "\u2013", "\u2014", "\uff0d", "+", "@", "_", "~",
    "#", "\u2060", "\u00ad", "\u3000", "//", ":", "::",
]  # fmt: skip
OTHER_DIGITS = ["٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９", "०१२३४५६७८९"]
NAMES = [
    "jane.doe", "x", "a.b", "o'neil+tag", "ÜMIT", "用户", "a..b", ".a", "a.", "-a-", "1", "_", "a--b", "ſ",
    "cafe\u0301",
]  # fmt: skip
DOMAINS = [
    "example.com", "example.co.uk", "localhost", "foo.bar", "xn--80ak6aa92e.com", "example.com.", "a_b.org",
    "ex-ample.de", "müller.de", "192.168.0.1", "example..com", "mail.example.museum", "b.zz", "例え.jp",
    "github.io", "com",
]  # fmt: skip
NETWORKS = [
    "::1", "2001:db8::1", "fe80::1%eth0", "::ffff:192.168.1.1", "::", "1::2::3", "a:b:c:d:e:f:1:2",
    "dead:beef:cafe:babe:dead:beef:cafe:babe", "1:2:3:4:5:6:1.2.3.4", "std::vector", "2001:db8::/32",
    "::FFFF:0:1.2.3.4", "12:30:45", "a::", "::b",
]  # fmt: skip
NUMBERS = [
    "2020-2024", "12/31/1999", "2012-01-02 08:00", "2012-01-02 08:00:12", "1,234,567.89", "1640", "1689",
    "10:30", "3.14159", "211-227 (2003)", "12(3): 211-227 (2003)", "0x1F", "v1.2.3.4", "$12345678", "12345678%",
    "50%", "AB12 3456 7890 1234", "KK12KKKK1234ſſſſ",
]  # fmt: skip
IBANS = [("DE", 18), ("GB", 18), ("FR", 23), ("NL", 14), ("ES", 20), ("CH", 17), ("IT", 23), ("NO", 11), ("PL", 24)]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def text(seed: int) -> str:
    """One to twenty pieces, with anything between them."""
    rng = random.Random(seed)
    pieces = []
    for _ in range(rng.choice([1, 1, 2, 3, 4, 5, 8, 12, 20])):
        pieces.append(piece(rng))
        pieces.append(rng.choice(SEPARATORS) if rng.random() < 0.4 else " ")
    return "".join(pieces)


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def card(rng: random.Random) -> str:
    """Digits that pass Luhn's check."""
    prefix = rng.choice(["4", "51", "34", "37", "6011", "35", "30"])
    number = prefix + digits(rng, rng.choice([13, 14, 15, 16, 16, 16]) - len(prefix) - 1)
    doubled = [int(c) * (2 - i % 2) for i, c in enumerate(reversed(number))]
    return number + str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def iban(rng: random.Random) -> str:
    """An IBAN with the right check digits."""
    country, length = rng.choice(IBANS)
    account = digits(rng, length)
    if country in ("GB", "NL"):
        account = "".join(rng.choice(LETTERS) for _ in range(4)) + account[4:]
    if country == "IT":
        account = "X" + account[1:]
    number = int("".join(str(int(c, 36)) for c in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


def grouped(rng: random.Random, number: str, separator: str) -> str:
    size = rng.choice([2, 3, 4, 4, 4, 5])
    return separator.join(number[i : i + size] for i in range(0, len(number), size))


def phone(rng: random.Random) -> str:
    """A phone number as people of several countries write it, or nearly."""

    def some(count: int) -> str:
        return digits(rng, count)

    area = rng.choice(["212", "425", "415", "604", "800", "876", "310"])
    city = rng.choice(["20 7", "30 ", "89 ", "161 ", "40/"])
    country = rng.choice(["44", "49", "33", "972", "91", "55", "39", "7", "86", "290", "683"])
    extension = rng.choice(["x", "ext", "ext.", "#", "extension ", ";ext="])
    separator = rng.choice([" ", "-", "", ".", " - ", "/", ") ("])
    return rng.choice(
        [
            f"({area}) {rng.choice('2345678')}{some(2)}-{some(4)}",
            f"{area}-{some(3)}-{some(4)}",
            f"+1 {area} {some(3)} {some(4)}",
            f"1-{area}-{rng.choice('2345')}{some(2)}-{some(4)}",
            f"0{city}{some(3)} {some(4)}",
            f"+{country} {grouped(rng, some(rng.randint(4, 11)), rng.choice([' ', '-', '', '.']))}",
            f"00{rng.choice(['44', '49', '33', '1'])}{some(rng.randint(6, 11))}",
            f"{area}.{some(3)}.{some(4)} {extension}{some(rng.randint(1, 6))}",
            grouped(rng, some(rng.randint(3, 15)), separator),
            f"0{rng.choice('6789')} {grouped(rng, some(8), ' ')}",
            f"{area}-{some(3)}-{some(4)}/{some(3)}-{some(4)}",
            f"(0{some(2)}) {some(rng.randint(4, 8))}",
        ]
    )


def address(rng: random.Random) -> str:
    at = rng.choice(["@", "@", "@", "@", "@@", " @", "\uff20"])
    return f"{rng.choice(NAMES)}{at}{rng.choice(DOMAINS)}"


def ssn(rng: random.Random) -> str:
    one = rng.choice("- .")
    return f"{digits(rng, 3)}{one}{digits(rng, 2)}{rng.choice([one, one, '-', ' '])}{digits(rng, 4)}"


def piece(rng: random.Random) -> str:
    """A word, personal data, nearly personal data, or noise."""
    kind = rng.randrange(26)
    if kind < 5:
        return rng.choice(WORDS)
    if kind < 9:
        return phone(rng)
    if kind < 10:
        return grouped(rng, card(rng), rng.choice(["", "-", " ", "  ", "."]))
    if kind < 11:
        return grouped(rng, digits(rng, rng.randint(12, 19)), rng.choice(["", "-", " "]))
    if kind < 12:
        return ssn(rng)
    if kind < 13:
        return digits(rng, rng.randint(1, 20))
    if kind < 14:
        nine = [digits(rng, 9), f"{digits(rng, 5)}-{digits(rng, 4)}", f"{digits(rng, 3)}-{digits(rng, 6)}"]
        return rng.choice([*nine, "000-12-3456", "666121234", "123456789"])
    if kind < 17:
        return address(rng)
    if kind < 18:
        numbers = ".".join(str(rng.randint(0, 300)) for _ in range(rng.choice([3, 4, 4, 4, 5])))
        return numbers + rng.choice(["", "/24", "/33", "/", "."])
    if kind < 19:
        return rng.choice(NETWORKS)
    if kind < 20:
        code = iban(rng)
        forms = [code, code.lower(), grouped(rng, code, " "), grouped(rng, code, "-"), code[:-1]]
        return rng.choice([*forms, code + rng.choice(["X", "12", " 2 days"])])
    if kind < 21:
        return rng.choice(NUMBERS)
    if kind < 22:
        number, other = rng.choice([phone(rng), digits(rng, rng.randint(5, 16))]), rng.choice(OTHER_DIGITS)
        return "".join(other[int(c)] if c in "0123456789" and rng.random() < 0.5 else c for c in number)
    if kind < 23:
        whole = piece(rng)
        cut = rng.randint(0, len(whole))
        return whole[:cut] + rng.choice(["\u200b", "\u00ad", "\n", "\u200d", "\u0301", "x", " "]) + whole[cut:]
    if kind < 24:
        quote = rng.choice(['"', "", '\\"'])
        return f'{{"{rng.choice(["phone", "email", "card", "id"])}": {quote}{piece(rng)}{quote}}}'
    if kind < 25:
        host = rng.choice(["example.com", "user:pw@host.org", "1.2.3.4:8080"])
        return f"https://{host}/{piece(rng)}?q={piece(rng)}"
    noise = "0123456789-(). +xX/@:abcdefAB\u200b~,;=#t e"
    return "".join(rng.choice(noise) for _ in range(rng.randint(1, 30)))
