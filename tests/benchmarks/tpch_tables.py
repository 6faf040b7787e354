"""TPC-H's eight tables made inside DuckDB: its proportions, keys, value domains and dates; the same rows each time.

Not TPC-H's own generator nor its text grammar: what is drawn there is a hash of the row's number here.
"""

from __future__ import annotations

from typing import Any

PER_SCALE = {"supplier": 10_000, "customer": 150_000, "part": 200_000, "orders": 1_500_000}
"""Rows at scale 1; a part has four suppliers, an order one to seven lines."""

REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
NATIONS = (
    "ALGERIA 0,ARGENTINA 1,BRAZIL 1,CANADA 1,EGYPT 4,ETHIOPIA 0,FRANCE 3,GERMANY 3,INDIA 2,INDONESIA 2,IRAN 4,IRAQ 4,"
    "JAPAN 2,JORDAN 4,KENYA 0,MOROCCO 0,MOZAMBIQUE 0,PERU 1,CHINA 2,ROMANIA 3,SAUDI ARABIA 4,VIETNAM 2,RUSSIA 3,"
    "UNITED KINGDOM 3,UNITED STATES 1"
)
COLOURS = (
    "almond antique aquamarine azure beige bisque black blanched blue blush brown burlywood burnished chartreuse "
    "chiffon chocolate coral cornflower cornsilk cream cyan dark deep dim dodger drab firebrick floral forest frosted "
    "gainsboro ghost goldenrod green grey honeydew hot indian ivory khaki lace lavender lawn lemon light lime linen "
    "magenta maroon medium metallic midnight mint misty moccasin navajo navy olive orange orchid pale papaya peach "
    "peru pink plum powder puff purple red rose rosy royal saddle salmon sandy seashell sienna sky slate smoke snow "
    "spring steel tan thistle tomato turquoise violet wheat white yellow"
)
WORDS = (
    "accounts packages requests deposits foxes ideas theodolites pinto beans instructions dependencies excuses "
    "platelets asymptotes courts dolphins sleep wake are cajole haggle nag use boost affix detect integrate furious "
    "sly careful blithe quick fluffy slow quiet ruthless thin close dogged daring brave stealthy permanent enticing "
    "idle busy regular final ironic even bold silent special pending express unusual"
)
TYPES = [
    ["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"],
    ["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"],
    ["TIN", "NICKEL", "BRASS", "STEEL", "COPPER"],
]
CONTAINERS = [["SM", "LG", "MED", "JUMBO", "WRAP"], ["CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"]]
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
MODES = ["AIR", "AIR REG", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"]
INSTRUCTIONS = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"]
CURRENT = "DATE '1995-06-17'"


def _draw(salt: str, count: int, key: str = "i") -> str:
    """SQL of a number from 0 to `count` - 1, by the row's number."""
    return f"(hash({key}, '{salt}') % {count})::BIGINT"


def _pick(salt: str, words: list[str], key: str = "i") -> str:
    """SQL of one of some words."""
    listing = ", ".join(f"'{word}'" for word in words)
    return f"[{listing}][1 + {_draw(salt, len(words), key)}]"


def _text(salt: str, words: str, count: int, key: str = "i") -> str:
    """SQL of some words with blanks between them."""
    return " || ' ' || ".join(_pick(f"{salt}{place}", words.split(), key) for place in range(count))


def _money(salt: str, least: int, most: int, key: str = "i") -> str:
    """SQL of an amount with cents."""
    return f"({least} + {_draw(salt, 100 * (most - least), key)} / 100)::DECIMAL(15, 2)"


def _phone(salt: str, nation: str) -> str:
    parts = [f"(100 + {_draw(f'{salt}{place}', 900)})" for place in range(2)]
    return f"(10 + {nation}) || '-' || {parts[0]} || '-' || {parts[1]} || '-' || (1000 + {_draw(salt, 9000)})"


def load(con: Any, scale: float) -> None:
    """The eight tables at a scale; scale 1 has six million lines."""
    rows = {name: max(100, round(count * scale)) for name, count in PER_SCALE.items()}
    suppliers, clerks = rows["supplier"], max(10, round(1000 * scale))

    def numbers(table: str) -> str:
        return f"(SELECT i FROM range(1, {rows[table] + 1}) r(i))"

    def supplier_of(part: str, place: str) -> str:
        return f"(({part} + {place} * ({suppliers} // 4 + ({part} - 1) // {suppliers})) % {suppliers} + 1)"

    nations = [nation.rpartition(" ") for nation in NATIONS.split(",")]
    con.execute("CREATE TABLE region (r_regionkey BIGINT, r_name VARCHAR, r_comment VARCHAR)")
    con.executemany("INSERT INTO region VALUES (?, ?, ?)", [(i, name, f"region {i}") for i, name in enumerate(REGIONS)])
    con.execute("CREATE TABLE nation (n_nationkey BIGINT, n_name VARCHAR, n_regionkey BIGINT, n_comment VARCHAR)")
    con.executemany(
        "INSERT INTO nation VALUES (?, ?, ?, ?)",
        [(i, name, int(region), f"nation {i}") for i, (name, _, region) in enumerate(nations)],
    )
    con.execute(
        "CREATE TABLE supplier AS SELECT i AS s_suppkey, printf('Supplier#%09d', i) AS s_name, "
        f"i || ' Mill Lane' AS s_address, n AS s_nationkey, {_phone('sp', 'n')} AS s_phone, "
        f"{_money('sa', -999, 9999)} AS s_acctbal, {_text('sc', WORDS, 9)} AS s_comment "
        f"FROM (SELECT i, {_draw('sn', 25)} AS n FROM {numbers('supplier')})"
    )
    con.execute(
        "CREATE TABLE customer AS SELECT i AS c_custkey, printf('Customer#%09d', i) AS c_name, "
        f"i || ' High Street' AS c_address, n AS c_nationkey, {_phone('cp', 'n')} AS c_phone, "
        f"{_money('ca', -999, 9999)} AS c_acctbal, {_pick('cm', SEGMENTS)} AS c_mktsegment, "
        f"{_text('cc', WORDS, 10)} AS c_comment FROM (SELECT i, {_draw('cn', 25)} AS n FROM {numbers('customer')})"
    )
    retail = "((90000 + (i // 10) % 20001 + 100 * (i % 1000)) / 100)::DECIMAL(15, 2)"
    kind = " || ' ' || ".join(_pick(f"pt{place}", words) for place, words in enumerate(TYPES))
    container = " || ' ' || ".join(_pick(f"pc{place}", words) for place, words in enumerate(CONTAINERS))
    con.execute(
        f"CREATE TABLE part AS SELECT i AS p_partkey, {_text('pn', COLOURS, 5)} AS p_name, "
        f"'Manufacturer#' || m AS p_mfgr, 'Brand#' || m || (1 + {_draw('pb', 5)}) AS p_brand, {kind} AS p_type, "
        f"1 + {_draw('ps', 50)} AS p_size, {container} AS p_container, {retail} AS p_retailprice, "
        f"{_text('pm', WORDS, 3)} AS p_comment FROM (SELECT i, 1 + {_draw('pf', 5)} AS m FROM {numbers('part')})"
    )
    con.execute(
        f"CREATE TABLE partsupp AS SELECT i AS ps_partkey, {supplier_of('i', 'n')} AS ps_suppkey, "
        f"1 + {_draw('pq', 9999, 'i, n')} AS ps_availqty, {_money('pp', 1, 1000, 'i, n')} AS ps_supplycost, "
        f"{_text('po', WORDS, 12, 'i, n')} AS ps_comment FROM {numbers('part')}, range(4) s(n)"
    )
    # A third of the customers never orders.
    con.execute(
        f"CREATE TABLE orders AS SELECT i AS o_orderkey, 3 * {_draw('oc', rows['customer'] // 3)} + 1 + "
        f"{_draw('ot', 2)} AS o_custkey, CASE WHEN d + 121 < {CURRENT} THEN 'F' WHEN d >= {CURRENT} THEN 'O' ELSE 'P' "
        f"END AS o_orderstatus, {_money('op', 900, 450_000)} AS o_totalprice, d AS o_orderdate, "
        f"{_pick('oo', PRIORITIES)} AS o_orderpriority, printf('Clerk#%09d', 1 + {_draw('ok', clerks)}) AS o_clerk, "
        f"0 AS o_shippriority, {_text('om', WORDS, 7)} AS o_comment "
        f"FROM (SELECT i, DATE '1992-01-01' + {_draw('od', 2406)}::INT AS d FROM {numbers('orders')})"
    )
    con.execute(
        "CREATE TABLE lineitem AS SELECT o AS l_orderkey, part AS l_partkey, "
        f"{supplier_of('part', _draw('ls', 4))} AS l_suppkey, n AS l_linenumber, "
        "quantity::DECIMAL(15, 2) AS l_quantity, "
        "(quantity * (90000 + (part // 10) % 20001 + 100 * (part % 1000)) / 100)::DECIMAL(15, 2) AS l_extendedprice, "
        f"({_draw('ld', 11)} / 100)::DECIMAL(15, 2) AS l_discount, ({_draw('lt', 9)} / 100)::DECIMAL(15, 2) AS l_tax, "
        f"CASE WHEN received > {CURRENT} THEN 'N' ELSE {_pick('lr', ['A', 'R'])} END AS l_returnflag, "
        f"CASE WHEN shipped > {CURRENT} THEN 'O' ELSE 'F' END AS l_linestatus, shipped AS l_shipdate, "
        f"d + (30 + {_draw('lc', 61)})::INT AS l_commitdate, received AS l_receiptdate, "
        f"{_pick('li', INSTRUCTIONS)} AS l_shipinstruct, {_pick('lm', MODES)} AS l_shipmode, "
        f"{_text('lx', WORDS, 4)} AS l_comment "
        f"FROM (SELECT *, shipped + (1 + {_draw('lv', 30)})::INT AS received "
        f"FROM (SELECT *, d + (1 + {_draw('lh', 121)})::INT AS shipped, 1 + {_draw('lq', 50)} AS quantity, "
        f"1 + {_draw('lp', rows['part'])} AS part FROM (SELECT o_orderkey AS o, o_orderdate AS d, n, "
        f"8 * o_orderkey + n AS i FROM orders, LATERAL unnest(range(1, 2 + {_draw('ln', 7, 'o_orderkey')})) u(n))))"
    )
