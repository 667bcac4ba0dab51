#!/usr/bin/env python3
"""Writes bank-run.jsonl, the news of the demo: six hours around an invented bank run.

The bank run is told by hand in story.txt; background.txt holds the sentence frames of everything else. This
program fills the frames, lets feeds run each other's stories again, and puts all of it in order. The same
inputs give the same bytes: chance comes from one seeded generator, and only through random(), whose sequence
Python promises to keep.

    python3 config/scenario/write.py

Every company, person, agency and feed is invented; a likeness to a real one would be chance.
"""

import json
import math
import random
import re
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SEED = 20260310
DURATION_SECONDS = 6 * 3600
RUMOUR_SECONDS = 210 * 60  # frames marked q stop here, and story.txt takes over the market
CALM_SECONDS = 310 * 60
FRAME_REST_SECONDS = 50 * 60
FRAME_USES = 3

# Shares of the background by tone, and how much of each tone other feeds run again.
TONES = {"+": 0.29, "-": 0.13, "=": 0.58}
CALM_TONES = {"+": 0.36, "-": 0.08, "=": 0.56}
RERUN = {"+": 0.065, "-": 0.03, "=": 0.02}

# Name, short name, ticker. The first ones of a sector are in demo-watchlist.toml and make the news more often.
COMPANIES = {
    "tech": [
        ("Quellmark Systems", "Quellmark", "QLMK"), ("Tessaray", "Tessaray", "TSRY"),
        ("Ondarel Software", "Ondarel", "ONDR"), ("Lumenfold", "Lumenfold", "LMFD"),
        ("Pixelgrove", "Pixelgrove", "PXGV"), ("Vantorr Networks", "Vantorr", "VTRR"),
        ("Hexalune", "Hexalune", "HXLN"), ("Cloudmarrow", "Cloudmarrow", "CLMW"),
        ("Datawicket", "Datawicket", "DWKT"), ("Nimbrel", "Nimbrel", "NBRL"),
    ],
    "chips": [
        ("Siltaro Semiconductor", "Siltaro", "SLTO"), ("Etchmont Devices", "Etchmont", "ETCM"),
        ("Corvane Micro", "Corvane", "CVNM"),
    ],
    "energy": [
        ("Skarholt Energy", "Skarholt", "SKHT"), ("Brantfell Oil", "Brantfell", "BRFO"),
        ("Tarnwick Petroleum", "Tarnwick", "TRNW"), ("Hollowstack Resources", "Hollowstack", "HLSK"),
    ],
    "power": [
        ("Heathgale Power", "Heathgale", "HTGP"), ("Solvenna Renewables", "Solvenna", "SLVN"),
        ("Brackwater Electric", "Brackwater", "BRKW"),
    ],
    "pipeline": [("Pellworth Pipelines", "Pellworth", "PLWP"), ("Marshgate Midstream", "Marshgate", "MRSG")],
    "retail": [
        ("Oakendale Stores", "Oakendale", "OKDS"), ("Tillabrook Grocers", "Tillabrook", "TLBK"),
        ("Fablewear", "Fablewear", "FBLW"), ("Homestall", "Homestall", "HSTL"),
        ("Barrowby Direct", "Barrowby", "BRWB"), ("Pennylantern", "Pennylantern", "PNLT"),
    ],
    "pharma": [
        ("Veloxane Therapeutics", "Veloxane", "VLXN"), ("Cordemia Pharma", "Cordemia", "CRDM"),
        ("Ansibrex Biosciences", "Ansibrex", "ANBX"), ("Halcyra", "Halcyra", "HLCY"),
        ("Myrradon Labs", "Myrradon", "MYRD"), ("Orthelia Medical", "Orthelia", "ORLM"),
        ("Pellucida Diagnostics", "Pellucida", "PLCD"),
    ],
    "indus": [
        ("Grauwerk Industries", "Grauwerk", "GRWK"), ("Stavendal Engineering", "Stavendal", "STVD"),
        ("Ironvale Machinery", "Ironvale", "IRVM"), ("Kettlebrook Aerospace", "Kettlebrook", "KTBA"),
        ("Ruddfield Rail", "Ruddfield", "RDFR"), ("Cargovant Logistics", "Cargovant", "CGVT"),
        ("Bolverton Freight", "Bolverton", "BLVF"),
    ],
    "auto": [
        ("Arvenco Motors", "Arvenco", "ARVC"), ("Voltessa", "Voltessa", "VLTS"),
        ("Marrowick Motors", "Marrowick", "MRWK"),
    ],
    "mining": [
        ("Copperdeen Mining", "Copperdeen", "CPDN"), ("Ashgild Gold", "Ashgild", "ASGD"),
        ("Ferrowick Resources", "Ferrowick", "FRWK"), ("Lithane Minerals", "Lithane", "LTHN"),
        ("Kobberheim Metals", "Kobberheim", "KBHM"),
    ],
    "travel": [
        ("Swiftlark Air", "Swiftlark", "SWLK"), ("Polarwing Airlines", "Polarwing", "PLWG"),
        ("Tradewind Hollow Airways", "Tradewind Hollow", "TWHA"),
    ],
    "media": [
        ("Bellcask Media", "Bellcask", "BCKM"), ("Streamhollow", "Streamhollow", "STHW"),
        ("Playfennel Games", "Playfennel", "PLFN"),
    ],
    "telecom": [("Telmora", "Telmora", "TLMR"), ("Northcable Group", "Northcable", "NCBG")],
    "food": [
        ("Branwheat Foods", "Branwheat", "BRWH"), ("Hopsgate Foods", "Hopsgate", "HPSG"),
        ("Orchardine", "Orchardine", "ORDN"), ("Creamfold Dairy", "Creamfold", "CRMF"),
    ],
    "lender": [
        ("Continental Alder Bank", "Continental Alder", "CALDR"), ("First Wexcombe Bank", "First Wexcombe", "WXCB"),
        ("Paystile", "Paystile", "PYSL"), ("Oldmarket Trust", "Oldmarket", "OMKT"),
    ],
    "insurer": [
        ("Sablegate Insurance", "Sablegate", "SBGT"), ("Everstead Life", "Everstead", "EVSL"),
        ("Cliffhaven Mutual", "Cliffhaven", "CLFH"),
    ],
    "realty": [
        ("Stonewharf Properties", "Stonewharf", "STWH"), ("Tallowgate Realty", "Tallowgate", "TLWG"),
        ("Highmarsh Estates", "Highmarsh", "HGME"),
    ],
}
IN_THE_WATCHLIST = {
    "QLMK", "TSRY", "SLTO", "ETCM", "SKHT", "BRFO", "HTGP", "OKDS", "TLBK", "VLXN", "CRDM", "ARVC", "CALDR",
}

NAMES = {
    "startup": [
        "Zephyrline", "Mintaro Payments", "Cobaltree Batteries", "Petalwise", "Farbeyond Space", "Finchwell Health",
        "Nordhaven Wind", "Kitebox Delivery", "Auriglow", "Wattlefern Software", "Terracairn", "Loomwright",
        "Pebbleform", "Saltgrass Robotics", "Quietmile", "Orbweft",
    ],
    "broker": [
        "Aldermoor Capital", "Pryce & Hollin", "Stourbank Securities", "Calverley Marsh", "Redfern Pike",
        "Junction Street Research", "Oster Lindqvist", "Keswick Vane", "Tolland Grieve",
    ],
    "fund": [
        "Lantern Rock", "Greyfinch Partners", "Copse Hill Equity", "Ninth Cairn Capital", "Orchard Lane Partners",
        "Millpond Growth", "Seven Elms Capital",
    ],
    "region": [
        "Euro zone", "Nordic", "Baltic", "Iberian", "Andean", "Gulf", "Alpine", "Caribbean", "Benelux", "Adriatic",
        "Central American",
    ],
    "rater": ["Wraycliffe Ratings", "Ostler Ratings"],
    "city": [
        "Port Alder", "Westerhaven", "Stannard", "Granby Cross", "Wexcombe", "Kestrel Bay", "Lowmoor", "Salt Quay",
        "Ardenholm", "Cobden Falls", "Marlstone", "Tolvik", "Easterby", "Nueva Laguna",
    ],
    "place": [
        "Black Tarn", "Skarn Ridge", "Old Ferry", "Mount Ashlar", "Juniper Creek", "Long Strand", "Red Fen",
        "Cape Hollis", "Dry Fork", "Greywater",
    ],
    "party": ["the Civic Union", "the Harvest Party", "the Reform League", "the Liberal Bloc"],
}
DRUGS = {
    "Veloxane": ["relvomab", "tesocitran"], "Cordemia": ["cardovane", "hepacirin"],
    "Ansibrex": ["oxelumab", "zelduvant"], "Halcyra": ["navirelin", "perotazine"],
    "Myrradon": ["fintravir", "brusatane"], "Orthelia": ["lumisertib", "dexorafil"],
    "Pellucida": ["amvortide", "quinoferan"],
}
FIRST_NAMES = (
    "Maren Tobin Ilse Corwin Adaeze Renske Leandra Osric Yusra Hallam Noor Bettina Cosmo Devika Emrys Farrah Gideon "
    "Hana Idris Jolene Kaspar Linnea Matteo Nadia Orla Priya Quentin Rosalind Soren Thandi Ulric Viola Wendell Zora"
).split()
LAST_NAMES = (
    "Varnholt Aldmere Brisgow Castellane Drummore Eskford Fennimore Garroway Hexworth Inglethorpe Jessamond "
    "Kitterwell Lachmere Mossgrave Nethercott Orpenshaw Pellarin Quillfeather Rasmund Sternhold Tavenor Underhay "
    "Vossmark Wintringate Yarborow Zellick Ambergate Coldwell Dunsfold Marchbank"
).split()

FEEDS = {
    "meridian": "meridian-wire.example", "ledger": "ledger-street.example", "tapeline": "tapeline.example",
    "northquay": "north-quay-news.example", "openingprint": "opening-print.example",
    "basispoint": "basis-point-daily.example", "copperfield": "copperfield-markets.example",
    "floor": "floor-broker.example", "pressroom": "pressroom-direct.example", "filings": "filings-monitor.example",
    "civic": "civic-gazette.example", "barrel": "barrel-watch.example", "chatter": "chatter-desk.example",
}
FEED_TITLES = {
    "ledger": "Ledger Street", "northquay": "North Quay News", "openingprint": "Opening Print",
    "basispoint": "Basis Point Daily", "copperfield": "Copperfield Markets", "civic": "Civic Gazette",
}
WIRES = {"meridian": 9, "ledger": 4, "tapeline": 5, "northquay": 4, "openingprint": 3, "copperfield": 3, "floor": 2}
RERUNNERS = [
    "meridian", "ledger", "tapeline", "northquay", "openingprint", "basispoint", "copperfield", "floor", "civic",
]
FEEDS_OF_TOPIC = {
    "Fed | Central Banks": {**WIRES, "basispoint": 8},
    "Company | Product News": {**WIRES, "pressroom": 12},
    "Treasuries | Corporate Debt": {**WIRES, "basispoint": 12},
    "Dividend": {**WIRES, "filings": 10, "pressroom": 4},
    "Earnings": {**WIRES, "filings": 6},
    "Energy | Oil": {**WIRES, "barrel": 20},
    "Financials": {**WIRES, "filings": 12},
    "General News | Opinion": {"civic": 14, "northquay": 6, "ledger": 3},
    "Gold | Metals | Materials": {**WIRES, "barrel": 12},
    "Politics": {"civic": 14, "meridian": 6, "northquay": 5},
    "Personnel Change": {**WIRES, "pressroom": 9},
    "Stock Commentary": {"chatter": 20, "ledger": 3, "copperfield": 3},
    "Stock Movement": {**WIRES, "tapeline": 12, "floor": 9},
}

SLOT = re.compile(r"\{([^{}]+)\}")
FIGURES = re.compile(r"(\d+(?:\.(\d+))?)-(\d+(?:\.\d+)?)")
ENTITY = re.compile(r"([a-z]+)(2?)(?:\.(s|t|last))?")


class Chance:
    """Draws from one seeded sequence, by random() alone."""

    def __init__(self, seed):
        self._next = random.Random(seed).random

    def below(self, limit):
        return self._next() * limit

    def happens(self, probability):
        return self._next() < probability

    def pick(self, values):
        return values[int(self.below(len(values)))]

    def weighted(self, weights):
        left = self.below(sum(weights.values()))
        for value, weight in weights.items():
            left -= weight
            if left < 0:
                return value
        return value

    def wait(self, mean):
        return -mean * math.log(1 - self._next())

    def shuffled(self, values):
        return [value for _, value in sorted((self._next(), value) for value in values)]


class Frame:
    """One line of background.txt."""

    def __init__(self, topic, tone, quiet_only, title, body):
        self.topic, self.tone, self.quiet_only, self.title, self.body = topic, tone, quiet_only, title, body
        # A frame without a name tells a fact of the day, such as the inflation rate; it is used once.
        self.about_somebody = any(ENTITY.fullmatch(slot) for slot in SLOT.findall(title))
        self.last_use = None
        self.uses = 0
        self.used_up = False
        self.names = set()  # whom the frame was about; it is not told of the same one twice


def read_background(path):
    """The frames by (topic, tone), and each topic's share."""
    frames, shares, topic = defaultdict(list), {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(.+)\] (\d+)", line):
            topic = heading[1]
            shares[topic] = int(heading[2])
        elif line and not line.startswith("#"):
            marks, text = line.split(" ", 1)
            title, _, body = text.partition(" || ")
            frames[topic, marks[0]].append(Frame(topic, marks[0], "q" in marks, title, body))
    return frames, shares


class Writer:
    """Fills slots. Remembers who was in the news on what topic, so that nobody reports earnings twice a morning."""

    def __init__(self, chance):
        self.chance = chance
        self.mentions = defaultdict(float)
        self.written = set()

    def item(self, frame, with_body):
        """Title, body and tickers of a text not written before; None if the frame has no other to give."""
        for _ in range(20):
            chosen, tickers = {}, []
            fill = lambda slot: self._slot(slot[1], frame, chosen, tickers)
            title = SLOT.sub(fill, frame.title)
            title = title[0].upper() + title[1:]
            names = {entity[0] for kind, entity in chosen.items() if len(entity) == 3 or kind in ("startup", "region")}
            if title not in self.written and not names & frame.names:
                self.written.add(title)
                body = SLOT.sub(fill, frame.body) if with_body else ""
                frame.names |= names
                if "{" not in frame.body:
                    frame.body = ""  # it would read word for word the same the next time
                for name in names:
                    self.mentions[frame.topic, name] += 1
                return title, body[:1].upper() + body[1:], tickers
        return None

    def _slot(self, slot, frame, chosen, tickers):
        if "/" in slot or FIGURES.fullmatch(slot):
            return self._choice(slot)
        kind, second, part = ENTITY.fullmatch(slot).groups()
        if kind + second not in chosen:
            chosen[kind + second] = self._entity(kind, frame, chosen)
        entity = chosen[kind + second]
        if len(entity) == 3 and entity[2] not in tickers:
            tickers.append(entity[2])
        if part == "last":
            return entity[0].rsplit(" ", 1)[1]
        return entity[{None: 0, "s": 1, "t": 2}[part]]

    def _choice(self, choices):
        figures = FIGURES.fullmatch(choices)
        if not figures:
            return self.chance.pick(choices.split("/"))
        low, high, places = float(figures[1]), float(figures[3]), len(figures[2] or "")
        step = 10 if places == 0 and high - low > 300 else 10 ** -places
        value = low + step * int(self.chance.below((high - low) / step + 1))
        return f"{min(value, high):,.{places}f}"

    def _entity(self, kind, frame, chosen):
        if kind == "person":
            return (f"{self.chance.pick(FIRST_NAMES)} {self.chance.pick(LAST_NAMES)}",)
        if kind == "drug":
            return (self.chance.pick(DRUGS[chosen["pharma"][1]]),)
        if kind in NAMES:
            taken = {entity[0] for entity in chosen.values()} | frame.names
            return (self.chance.pick([name for name in NAMES[kind] if name not in taken] or NAMES[kind]),)
        candidates = [company for company in COMPANIES[kind] if company not in chosen.values()]
        candidates = [company for company in candidates if company[0] not in frame.names] or candidates

        def coverage(company):
            weight = 2.5 if company[2] in IN_THE_WATCHLIST else 1.0
            return (self.mentions[frame.topic, company[0]] + self.chance.below(1.5)) / weight

        return min(candidates, key=coverage)


def background_times(chance):
    """Arrivals as feeds have them: busier after the start and on the half hour, sometimes several in a breath."""
    seconds = 0.0
    while True:
        minute = seconds / 60
        rate = 2.85 + 0.9 * math.exp(-minute / 25) + (1.1 if minute % 30 < 4 else 0.0) + 0.35 * math.sin(minute / 17)
        seconds += chance.wait(60 / rate)
        burst = 1 + (chance.happens(0.12)) + (chance.happens(0.05))
        for _ in range(burst):
            if seconds >= DURATION_SECONDS:
                return
            yield seconds
            seconds += chance.wait(2.5) if burst > 1 else 0.0


def write_background(chance):
    """Stories as (seconds, copies, feed, symbols, title, body)."""
    frames, shares = read_background(FOLDER / "background.txt")
    writer = Writer(chance)
    stories = []
    for seconds in background_times(chance):
        tones = TONES if seconds < CALM_SECONDS else CALM_TONES
        story = None
        while story is None:
            usable = [
                one for one in frames[chance.weighted(shares), chance.weighted(tones)]
                if not one.used_up and not (one.quiet_only and seconds >= RUMOUR_SECONDS)
                and (one.last_use is None or seconds - one.last_use > FRAME_REST_SECONDS)
            ]
            if usable:
                # The frame rested longest, so that all are used about equally often; unused ones in any order.
                frame = min(usable, key=lambda one: (one.last_use is not None, one.last_use or chance.below(1.0)))
                story = writer.item(frame, with_body=bool(frame.body) and chance.happens(0.96))
                frame.used_up = story is None or not frame.about_somebody or frame.uses + 1 == FRAME_USES
        frame.last_use = seconds
        frame.uses += 1
        title, body, tickers = story
        feed = chance.weighted(FEEDS_OF_TOPIC.get(frame.topic, WIRES))
        if title.startswith("$"):
            feed = "chatter"
        own_voice = feed in ("chatter", "filings") or frame.topic == "General News | Opinion"
        copies = 0 if own_voice or not chance.happens(RERUN[frame.tone]) else 3 + int(chance.below(4))
        symbols = tickers if "$" + (tickers or ["-"])[0] in title or chance.happens(0.6) else []
        stories.append((seconds, copies, feed, symbols, title, body))
    return stories


def read_story(path, chance):
    """The hand-written stories, in the same form."""
    stories = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        minute, copies, feed, symbols, text = line.split(" ", 4)
        title, _, body = text.partition(" || ")
        seconds = float(minute) * 60 + chance.below(5)
        feed = chance.weighted(WIRES) if feed == "-" else feed
        stories.append((seconds, int(copies), feed, [] if symbols == "-" else symbols.split(","), title, body))
    return stories


def with_copies(stories, chance):
    """Adds the re-runs: other feeds, soon after, word for word or with a slight edit."""
    for seconds, copies, feed, symbols, title, body in stories:
        yield seconds, feed, symbols, title, body
        others = chance.shuffled([other for other in RERUNNERS if other != feed])[:copies]
        delay = 0.0
        for number, other in enumerate(others):
            delay += 8 + chance.wait(55)
            if seconds + delay >= DURATION_SECONDS:
                break
            edit = chance.below(1.0)
            new_title, new_body = title, body
            if edit < 0.17:
                new_title = f"UPDATE {1 + number // 3}-{title}"
            elif edit < 0.29 and other in FEED_TITLES:
                new_title = f"{title} - {FEED_TITLES[other]}"
            elif edit < 0.38:
                new_body = ""
            elif edit < 0.45 and ". " in body:
                new_body = body.split(". ")[0] + "."
            yield seconds + delay, other, symbols, new_title, new_body


def address(feed, number, title):
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"https://{FEEDS[feed]}/{slug[:60].rstrip('-')}-{number}"


def main():
    chance = Chance(SEED)
    stories = sorted(write_background(chance) + read_story(FOLDER / "story.txt", chance), key=lambda story: story[0])
    items = sorted(with_copies(stories, chance), key=lambda item: item[0])
    lines = []
    for number, (seconds, feed, symbols, title, body) in enumerate(items, start=1):
        record = {"id": f"n-{number:06d}", "offset_seconds": round(seconds, 1), "title": title}
        if body:
            record["body"] = body
        record["source"] = FEEDS[feed]
        if chance.happens(0.45):
            record["url"] = address(feed, number, title)
        if symbols:
            record["symbols"] = symbols
        record["lang"] = "en"
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    (FOLDER / "bank-run.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"bank-run.jsonl: {len(lines)} items over {DURATION_SECONDS // 3600} hours")


if __name__ == "__main__":
    main()
