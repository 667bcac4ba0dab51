"""Labelled financial texts from hand-written sentence templates: topic and sentiment by training/LABELS.md.

Figures are drawn first and the words chosen by them, so that every label follows from the arithmetic of its text.
All events are invented, whoever is named; runs on banks and frauds befall invented companies only.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict

from .text import normalised

_TOPIC_TEXT = """A:Analyst Update; D:Dividend; I:IPO; M:M&A | Investments; P:Personnel Change; F:Financials; E:Earnings;
S:Stock Movement; K:Markets; C:Stock Commentary; G:Gold | Metals | Materials; O:Energy | Oil; U:Currencies; X:Macro;
T:Treasuries | Corporate Debt; B:Fed | Central Banks; L:Legal | Regulation; N:Company | Product News"""
TOPICS = {part.strip()[0]: part.strip()[2:] for part in _TOPIC_TEXT.split(";")}
_SENTIMENTS = {"+": "positive", "-": "negative", "=": "neutral", "~": "neutral"}
_BODY_SHARE = 0.35


class Row(TypedDict):
    """One labelled text; kind names the grammar that made it."""

    title: str
    body: str | None
    topic: str
    sentiment: str
    kind: str


def table(text: str) -> list[list[str]]:
    """Records parted by ' ; ', their fields by '|'."""
    return [record.split("|") for record in " ".join(text.split()).split(" ; ")]


# code|name|adjective|currency|cities
COUNTRIES = {row[0]: row[1:] for row in table("""US|the United States|US|USD|Chicago, Houston, Atlanta, Seattle ;
GB|Britain|British|GBP|London, Leeds, Bristol ; DE|Germany|German|EUR|Munich, Hamburg, Stuttgart ;
FR|France|French|EUR|Paris, Lyon, Toulouse ; IT|Italy|Italian|EUR|Milan, Turin, Bologna ; ES|Spain|Spanish|EUR|Madrid,
Bilbao, Valencia ; PT|Portugal|Portuguese|EUR|Lisbon, Porto ; GR|Greece|Greek|EUR|Athens, Thessaloniki ; NL|the
Netherlands|Dutch|EUR|Rotterdam, Eindhoven ; IE|Ireland|Irish|EUR|Dublin, Cork ; AT|Austria|Austrian|EUR|Vienna, Graz,
Linz ; FI|Finland|Finnish|EUR|Helsinki, Tampere, Oulu, Vaasa ; SE|Sweden|Swedish|SEK|Stockholm, Gothenburg, Malmö ;
NO|Norway|Norwegian|NOK|Oslo, Bergen, Stavanger ; DK|Denmark|Danish|DKK|Copenhagen, Aarhus ;
CH|Switzerland|Swiss|CHF|Zurich, Basel, Geneva ; PL|Poland|Polish|PLN|Warsaw, Gdansk, Wroclaw ;
TR|Turkey|Turkish|TRY|Istanbul, Izmir ; JP|Japan|Japanese|JPY|Tokyo, Osaka, Nagoya ; CN|China|Chinese|CNY|Shanghai,
Shenzhen, Chengdu ; HK|Hong Kong|Hong Kong|HKD|Kowloon ; TW|Taiwan|Taiwanese|TWD|Taipei, Hsinchu ; KR|South Korea|South
Korean|KRW|Seoul, Busan, Ulsan ; IN|India|Indian|INR|Mumbai, Pune, Chennai, Hyderabad ;
ID|Indonesia|Indonesian|USD|Jakarta, Surabaya ; SG|Singapore|Singaporean|SGD|Jurong ;
AU|Australia|Australian|AUD|Sydney, Perth, Melbourne ; NZ|New Zealand|New Zealand|NZD|Auckland, Hamilton ; ZA|South
Africa|South African|ZAR|Johannesburg, Durban ; NG|Nigeria|Nigerian|USD|Lagos, Abuja ; KE|Kenya|Kenyan|USD|Nairobi,
Mombasa ; BR|Brazil|Brazilian|BRL|São Paulo, Recife ; MX|Mexico|Mexican|MXN|Monterrey, Puebla ;
CL|Chile|Chilean|USD|Santiago, Antofagasta ; AR|Argentina|Argentine|USD|Buenos Aires, Rosario ;
CA|Canada|Canadian|CAD|Toronto, Calgary, Montreal ; AE|the United Arab Emirates|Emirati|AED|Dubai, Abu Dhabi ; SA|Saudi
Arabia|Saudi|SAR|Riyadh, Jeddah""")}
# sector|noun|site, sites|goods in the plural|companies with their countries, * where the company is invented
_SECTORS = {row[0]: row[1:] for row in table("""bank|lender|branch, branches|mortgages, consumer loans, credit
cards|HSBC GB, Barclays GB, Nordea FI, Deutsche Bank DE, BNP Paribas FR, Santander ES, UniCredit IT, ING NL, Danske
Bank DK, UBS CH, JPMorgan US, Citigroup US, Wells Fargo US, HDFC Bank IN, ICICI Bank IN, State Bank of India IN, Mizuho
JP, Itaú Unibanco BR, Standard Bank ZA, Zenith Bank NG, Alpine Cantonal Bank CH*, Prairie Union Bank US*, Harbor Trust
US*, Coastline Bancorp US*, Banco Miramar ES*, Nordhafen Bank DE*, Lakeshore Bank US*, Rift Valley Bank KE*, Banca
Serravalle IT*, Kirkwall Savings GB*, Bluestone Thrift US*, Tagus Bank PT*, Ostermark Bank AT* ;
insurer|insurer|office, offices|life policies, motor policies, pension plans|Allianz DE, AXA FR, Zurich Insurance CH,
Swiss Re CH, Munich Re DE, Aviva GB, Sampo FI, AIA HK, Gable Insurance GB* ; machine|engineering group|plant,
plants|elevators, harbour cranes, forklift trucks, paper machines, compressors, marine engines, drilling rigs,
packaging lines|Siemens DE, Kone FI, Wärtsilä FI, Metso FI, Atlas Copco SE, Sandvik SE, ABB CH, Caterpillar US, Deere
US, Larsen & Toubro IN, Varnholt Maschinen DE*, Tuomela Cranes FI*, Bergström Pumps SE*, Harrow & Pike GB*, Gdynia
Turbines PL* ; car|carmaker|plant, plants|electric vans, city cars, pickup trucks, hybrid cars, city buses|BMW DE,
Volkswagen DE, Toyota JP, Hyundai Motor KR, Tata Motors IN, Ford US, General Motors US, BYD CN, Volvo Cars SE, Avanti
Motors IT*, Kestrel EV US*, Norrland Trucks SE*, Tremont Motors US* ; pharma|drugmaker|plant, plants|insulin pens,
vaccines, asthma inhalers, cancer drugs, painkillers|Novartis CH, Roche CH, Pfizer US, AstraZeneca GB, Sanofi FR, Novo
Nordisk DK, Takeda JP, Sun Pharma IN, Orion FI, Helvion Therapeutics CH*, Brightwater Biotech US*, Cordova Biosciences
US*, Lumenta Pharma IE*, Nagahara Pharma JP* ; tech|electronics maker|plant, plants|smartphones, network routers,
payment terminals, smart watches, hearing aids, game consoles|Apple US, Samsung Electronics KR, Nokia FI, Ericsson SE,
Sony JP, Lenovo CN, Xiaomi CN, Pixelforge US*, Ondara Devices TW*, Sarvik Electronics FI* ; chip|chipmaker|plant,
plants|memory chips, power chips, image sensors, graphics processors|Intel US, Nvidia US, AMD US, TSMC TW, ASML NL,
Micron US, SK Hynix KR, Quillon Semiconductor US*, Taiyo Devices JP* ; soft|software company|office, offices|payroll
programs, cloud databases, cybersecurity tools, accounting services|Microsoft US, SAP DE, Oracle US, Salesforce US,
Infosys IN, Basware FI, Ledgerloop US*, Cloudmere IE*, Tavira Systems PT*, NimbusDesk US* ; telecom|telecoms
operator|data centre, data centres|broadband packages, mobile plans, fibre connections|Vodafone GB, BT GB, Deutsche
Telekom DE, Telefónica ES, Telia SE, Elisa FI, Verizon US, AT&T US, Bharti Airtel IN, Telstra AU, América Móvil MX,
Norvia Mobile NO*, Savanna Telecom KE* ; retail|retailer|store, stores|school uniforms, garden tools, winter coats,
toys, running shoes|Tesco GB, Walmart US, Carrefour FR, H&M SE, Kesko FI, Stockmann FI, Woolworths AU, Shoprite ZA,
Zalando DE, Fast Retailing JP, Brambley Stores GB*, Casa Verde BR*, Lindqvist Home SE* ; food|food group|plant,
plants|frozen pizzas, yoghurts, breakfast cereals, soft drinks, baby foods, sausages|Nestlé CH, Danone FR, Unilever GB,
Diageo GB, JBS BR, Raisio FI, Atria FI, Kirin JP, Britannia Industries IN, Golden Ridge Dairy NZ*, Hearthside Bakeries
US* ; airline|airline|hub, hubs|long-haul flights, charter flights, holiday packages|Lufthansa DE, Finnair FI, Air
France-KLM FR, Delta Air Lines US, Qantas AU, Singapore Airlines SG, IndiGo IN, Turkish Airlines TR, Sundara Air ID*,
Westfjord Air NO* ; oil|oil company|refinery, refineries|renewable fuels, lubricants, jet fuels|Shell GB, BP GB,
TotalEnergies FR, ExxonMobil US, Equinor NO, Eni IT, Repsol ES, Petrobras BR, Neste FI, Halden Energy NO*, Mesa Ridge
Petroleum US* ; util|utility|power station, power stations|heat pumps, electricity contracts, smart meters|RWE DE, Enel
IT, Iberdrola ES, Fortum FI, Vattenfall SE, Ørsted DK, National Grid GB, Moorgate Water GB*, Alpenstrom AT* ;
miner|miner|mine, mines|copper concentrates, nickel briquettes, iron ore pellets|Rio Tinto GB, BHP AU, Glencore CH,
Vale BR, Anglo American GB, Barrick CA, Boliden SE, KGHM PL, Fortescue AU, Kalahari Copper ZA*, Sierra Blanca Lithium
AR* ; steel|steelmaker|mill, mills|steel coils, heavy plates, steel pipes, stainless bars|ArcelorMittal NL,
Thyssenkrupp DE, SSAB SE, Voestalpine AT, Outokumpu FI, POSCO KR, Tata Steel IN, Blackmoor Steel GB* ; chem|chemicals
group|plant, plants|fertilisers, wall paints, industrial gases, plastics|BASF DE, Yara NO, Kemira FI, Asian Paints IN,
LG Chem KR, Marlow Polymers US*, Elbe Coatings DE* ; build|construction group|depot, depots|apartment blocks, road
tunnels, hospital wings, railway bridges|Vinci FR, Skanska SE, YIT FI, Hochtief DE, Ferrovial ES, Grupo Altamira MX*,
Emirates Piling AE* ; prop|property company|shopping centre, shopping centres|office leases, rental flats,
warehouses|Vonovia DE, British Land GB, Citycon FI, Emaar AE, Harborline REIT US*, Pearl Bay Land HK* ; media|media
group|studio, studios|streaming subscriptions, magazines, school books|Disney US, Netflix US, WPP GB, Alma Media FI,
Schibsted NO, Spotify SE, Nordlys Media NO*, Lantern Pictures US* ; ship|logistics company|terminal,
terminals|container services, parcel services, ferry crossings|Maersk DK, Hapag-Lloyd DE, FedEx US, Finnlines FI, DSV
DK, Adani Ports IN, Calder Logistics GB* ; paper|forest products company|mill, mills|magazine papers, cartons, pulp
bales, plywood panels|UPM FI, Stora Enso FI, Metsä Board FI, Mondi GB, Suzano BR, Norske Skog NO, Kainuu Pulp FI* ;
defence|defence contractor|shipyard, shipyards|patrol boats, armoured vehicles, training jets, radar systems|BAE
Systems GB, Rheinmetall DE, Saab SE, Leonardo IT, Lockheed Martin US, Patria FI, Embraer BR, Kongsberg NO""")}


@dataclass(frozen=True)
class Company:
    name: str
    country: str
    sector: str
    invented: bool


COMPANIES = [
    Company(entry.rstrip("*")[:-3], entry.rstrip("*")[-2:], sector, entry.endswith("*"))
    for sector, row in _SECTORS.items()
    for entry in row[3].split(", ")
]
_MAKE = "machine,car,pharma,tech,chip,food,steel,chem,paper,defence"
_POOLS = {
    "all": ",".join(_SECTORS),
    "make": _MAKE,
    "works": "machine,car,tech,food,steel,chem,paper",
    "serve": "soft,telecom,media,ship,retail",
    "corp": _MAKE + ",soft,telecom,retail,airline,oil,util,miner,build,media,ship",
    "fin": "bank,insurer",
}


def _pool(names: str) -> list[Company]:
    """The companies of sectors and of the pools above; inv and ibank hold invented companies and invented banks."""
    if names in ("inv", "ibank"):
        return [one for one in COMPANIES if one.invented and (one.sector == "bank") == (names == "ibank")]
    wanted = {sector for name in names.split(",") for sector in _POOLS.get(name, name).split(",")}
    return [one for one in COMPANIES if one.sector in wanted]


# How amounts of money are written; # is the figure, million becomes billion for the larger ones.
_STYLES = {code: styles.split(",") for code, styles in table("""EUR|EUR # mn,EUR # million,€#m,€# million,EUR#m,#
million euros ; USD|$# million,USD # mn,$#m,US$# million ; GBP|£#m,£# million,GBP # mn,GBP # million ; INR|Rs #
crore,₹# crore,INR # crore ; JPY|¥# billion,# billion yen,JPY # bn ; KRW|# billion won,KRW # bn ; CNY|# million
yuan,CNY # mn ; TWD|NT$# million,TWD # mn ; HKD|HK$# million,HKD # mn ; SGD|S$# million,SGD # mn ; AUD|A$# million,AUD
# mn ; NZD|NZ$# million,NZD # mn ; CAD|C$# million,CAD # mn ; ZAR|ZAR # mn,# million rand ; BRL|R$# million,BRL # mn ;
MXN|MXN # mn,# million pesos ; NOK|NOK # mn,NOK # million ; SEK|SEK # mn,# million kronor,SEK # million ; DKK|DKK #
mn,DKK # million ; CHF|CHF # million,CHF # mn ; PLN|PLN # mn,# million zlotys ; TRY|TRY # mn,# million lira ; AED|AED #
mn,# million dirhams ; SAR|SAR # mn,# million riyals""")}
_SYMBOLS = {"USD": "$", "GBP": "£", "INR": "Rs ", "JPY": "¥", "EUR": "€", "AUD": "A$", "CAD": "C$", "BRL": "R$"}
LISTS = {name: words.split(", ") for name, words in table("""first|Anna, James, Priya, Kenji, Lars, Maria, Omar,
Sofia, Daniel, Wei, Elena, Tomas, Aisha, Pierre, Hannah, Rajesh, Ingrid, Carlos, Mei, Stefan, Laura, Kofi, Yuki, Marta,
Andrew, Fatima, Mikko, Julia, Pedro, Nadia, Henrik, Chloe, Arjun, Paolo, Grace, Jin-woo, Petra, Samuel ; last|Korhonen,
Miller, Sharma, Tanaka, Berg, Rossi, Haddad, Novak, Fischer, Chen, Petrova, Lindgren, Okafor, Dubois, Schmidt, Iyer,
Larsen, Mendez, Wong, Keller, Virtanen, Mensah, Sato, Kowalska, Whitfield, Rahman, Laine, Moreau, Alves, Park, Nilsson,
Bennett, Patel, Conti, Osei, Kim, Horváth, Brandt, Salonen, Ferreira, Gallagher, Nair ; bankitem|operating profit, net
profit, fee income, profit before tax ; anyitem|operating profit, net profit, net sales, EBIT, EBITDA, turnover, pretax
profit, revenue ; month|January, February, March, April, May, June, July, August, September, October, November,
December ; day|Monday, Tuesday, Wednesday, Thursday, Friday ; yago|a year earlier, a year ago, in the same period last
year, in the corresponding period of {y0}, in the comparison period ; lossitem|net loss, operating loss, pretax loss,
loss before tax ; book|order book, order backlog, order stock ; intake|order intake, order bookings, new orders, orders
received ; broker|Goldman Sachs, Morgan Stanley, Jefferies, Berenberg, UBS, Barclays, Citi, JPMorgan, Bernstein,
Evercore ISI, Wedbush, Nomura, Kepler Cheuvreux, Handelsbanken, Motilal Oswal, Kotak, CLSA, Macquarie, HSBC, RBC,
Stifel, Oppenheimer, Needham, Inderes ; agency|S&P, Fitch, Moody's, Scope ; goodn|strong demand for {goods}, higher
volumes in {country2}, lower costs, record sales of {goods}, a recovery in {country2}, better margins, lower energy
bills, good sales in {country2} ; badn|weak demand for {goods}, lower volumes in {country2}, higher costs, falling
sales of {goods}, a slump in {country2}, shrinking margins, rising wage bills, poor sales in {country2} ; client|a
customer in {country}, the {nation} government, a buyer in {country}, a long-standing client in {country}, the city of
{city}, a group of {nation} buyers ; watchdog|competition authority, securities regulator, data protection agency,
market watchdog, consumer agency ; offence|late disclosure, misleading advertising, price fixing, poor record-keeping,
breaches of data rules, market abuse, safety lapses ; union|IG Metall, Unite, Unia, the Teamsters, the CGT, the
engineers' union, the technicians' union, the electricians' union ; role|chief executive, chief financial officer,
chairman, head of sales, chief operating officer, head of research, general counsel, chief technology officer,
treasurer, head of investor relations ; fund|BlackRock, Norges Fund, Capital Group, Fidelity, Vanguard, Temasek, Varma,
Ilmarinen, Cevian, Harrowgate Capital, Solidium ; buyer|KKR, Blackstone, EQT, CVC, Apollo, Carlyle, Nordic Capital,
Triton, Bain Capital, Permira, Silverlode Partners, Kinloch Capital ; illness|type 2 diabetes, lung cancer, severe
asthma, migraine, Alzheimer's disease, psoriasis, heart failure, multiple sclerosis, obesity ; drug|velotrinib,
ocrazumab, nabexal, tirofenib, sulomab, HX-204, BRW-17, kardalin, lumetinib, orvasertib, CB-881, zelnorexin ;
exchange|Nasdaq Helsinki, the London Stock Exchange, Euronext Paris, the Frankfurt exchange, the New York Stock
Exchange, Nasdaq, the Tokyo Stock Exchange, the Hong Kong exchange, the National Stock Exchange of India, the Warsaw
exchange, Nasdaq Stockholm ; frac|fifth, quarter, third, tenth ; ord|third, fourth, fifth, sixth ; few|two, three,
four, five, six ; hub|London, New York, Singapore, Tokyo, Frankfurt, Sydney, Hong Kong, Zurich, Mumbai ; tally|three,
four, five, eight, ten ; ore|copper, nickel, zinc, iron ore, bauxite, manganese ; profit|operating profit, net profit,
EBIT, pretax profit ; crude|Brent, Brent crude, WTI, US crude ; fuel|natural gas, LNG, diesel, coal, electricity,
heating oil ; fault|brake, airbag, battery, seat belt, steering, fuel pump ; taint|salmonella, glass splinters,
undeclared nuts, listeria, metal fragments ; unfit|a risk of overheating, sharp edges, loose screws, a faulty switch,
cracked casings ; whole|4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30 ; trouble|a fire, a flood, an earthquake, a storm""")}
# As after "in", and as an attribute.
_PERIODS = table("""the first quarter|first-quarter ; the second quarter|Q2 ; the third quarter|third-quarter ; the
fourth quarter|Q4 ; the first half|first-half ; the first nine months|nine-month ; January-March|Q1 ; January-June|H1 ;
July-September|Q3 ; the full year|full-year ; the quarter to December|fourth-quarter ; the second half|second-half""")
INDICES = table("""FTSE 100|7400 ; DAX|15800 ; CAC 40|7100 ; Nikkei 225|31500 ; S&P 500|4300 ; Dow|34000 ;
Nasdaq|13600 ; Hang Seng|18200 ; Sensex|65200 ; Nifty 50|19400 ; KOSPI|2500 ; ASX 200|7200 ; Bovespa|117000 ; STOXX
600|455 ; IBEX 35|9400 ; FTSE MIB|28300 ; OMXH25|4100 ; SMI|11000 ; AEX|740 ; TSX|19900""")
METALS = table("""gold|1940|an ounce ; silver|23.4|an ounce ; palladium|1240|an ounce ; platinum|930|an ounce ;
copper|8400|a tonne ; nickel|20500|a tonne ; aluminium|2200|a tonne ; zinc|2450|a tonne ; tin|25600|a tonne ; iron
ore|112|a tonne ; lead|2150|a tonne""")
# Dollars to the unit where there is a $, else units to the dollar.
_FX = table("""euro|$1.08 ; pound|$1.25 ; Australian dollar|$0.66 ; New Zealand dollar|$0.60 ; yen|141.0 ; rupee|82.6
; won|1310 ; lira|27.1 ; rand|18.6 ; Mexican peso|17.2 ; zloty|4.1 ; Swedish krona|10.8 ; naira|771 ; Canadian
dollar|1.34 ; rupiah|15200 ; Brazilian real|4.95 ; forint|352 ; shekel|3.7""")
# In headlines, and in sentences.
_CENTRAL = table("""Fed|the Federal Reserve ; ECB|the European Central Bank ; Bank of England|the Bank of England ;
BoJ|the Bank of Japan ; RBI|the Reserve Bank of India ; Riksbank|the Riksbank ; Norges Bank|Norges Bank ; SNB|the Swiss
National Bank ; RBA|the Reserve Bank of Australia ; Bank of Canada|the Bank of Canada ; Bank of Korea|the Bank of Korea
; Banxico|the Bank of Mexico ; SARB|the South African Reserve Bank ; Bank Indonesia|Bank Indonesia ; RBNZ|the Reserve
Bank of New Zealand""")
# From best to worst.
_SCALES = table("""AAA|AA+|AA|AA-|A+|A|A-|BBB+|BBB|BBB-|BB+|BB|BB-|B+|B|B-|CCC+|CCC ;
Aaa|Aa1|Aa2|Aa3|A1|A2|A3|Baa1|Baa2|Baa3|Ba1|Ba2|Ba3|B1|B2|B3|Caa1|Caa2""")
# Where a rise is bad news, and where it is good news.
_PRICES = table("""inflation|1.4|9.5 ; core inflation|1.6|7.5 ; consumer price growth|1.4|9.5 ; producer price
inflation|1.0|12 ; food inflation|2|15 ; jobless rate|3.2|11 ; unemployment|3.2|11 ; youth unemployment|9|29""")
_ACTIVITY = table("""GDP growth|0.6|6.5 ; retail sales growth|0.5|6 ; industrial output growth|0.4|7 ; manufacturing
PMI|0|0 ; services PMI|0|0 ; export growth|0.8|12 ; factory order growth|0.5|8 ; consumer spending growth|0.4|4.5 ;
construction output growth|0.4|5""")


def _shown(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}"


def _read(text: str) -> float:
    found = re.search(r"\d[\d,]*(\.\d+)?", text)
    return float(found[0].replace(",", "")) if found else 0.0


_Show = Callable[[float], str]


class _Slots(dict[str, str]):
    """The fillings of one text, each made when first asked for, so that title and body agree.

    up is 1, 0 or -1, as the figure rises, stays or falls; the label is in sign.
    """

    def __init__(self, rng: random.Random, template: _Template, up: int, sign: str) -> None:
        company = rng.choice(template.pool)
        self.rng, self.up, self.sign, self.company, self.inverse = rng, up, sign, company, template.inverse
        noun, sites, goods, _ = _SECTORS[company.sector]
        land, adjective, self.currency, cities = COUNTRIES[company.country]
        super().__init__(c=company.name, land=land, adj=adjective, home=rng.choice(cities.split(", ")), noun=noun)
        self["site"], self["sites"] = sites.split(", ")
        self.goods = goods.split(", ")
        self["q"], self["Q"] = rng.choice(_PERIODS)
        self["cb"], self["cbl"] = rng.choice(_CENTRAL)
        year = rng.randint(2006, 2025)
        self.update(y=str(year), y0=str(year - 1), y1=str(year + 1), y2=str(year + rng.randint(2, 5)))
        self.percent = rng.choice(["#%"] * 4 + ["# %", "# percent", "# per cent", "# pct"])
        attributive = "{amtp}" in template.text or "a(n) {cur}" in template.text
        styles, size = _STYLES[self.currency], rng.random()
        style = rng.choice([one for one in styles if one[0] != "#" or not attributive])
        self.low, self.high, self.decimals = (4.0, 95.0, 1) if size < 0.6 else (100.0, 950.0, 0)
        if "crore" in style:
            self.low, self.high, self.decimals = 20.0, 9000.0, 0
        elif size < 0.3 and "billion" not in style and "{cur}" in template.text:
            self.low, self.high = 1.1, 14.0
            style = style.replace(" million", " billion").replace(" mn", " bn").replace("#m", "#bn")
        self.style = style

    def __missing__(self, key: str) -> str:
        base = key if key in _MAKERS else key.rstrip("0123456789")
        if base in LISTS:
            return self.setdefault(key, self.pick([word.format_map(self) for word in LISTS[base]]))
        if base in _COUNTS:
            return self.setdefault(key, self.number(*_COUNTS[base]))
        if base in _RANGES:
            return self.setdefault(key, self.pct(*_RANGES[base]))
        return self.setdefault(key, _MAKERS[base](self) or self[key])

    def pick(self, words: list[str]) -> str:
        """One of the words that the text does not have yet."""
        return self.rng.choice([word for word in words if word not in self.values()])

    def number(self, low: int, high: int, step: int = 1) -> str:
        return f"{self.rng.randrange(low, high, step):,}"

    def pct(self, low: float, high: float) -> str:
        """A percentage between the two, in the spelling of this text."""
        return self.percent.replace("#", _shown(self.rng.uniform(low, high), 1))

    def money(self, value: float) -> str:
        """An amount in the company's currency, in the spelling of this text."""
        return self.style.replace("#", _shown(value, self.decimals))

    def amount(self) -> str:
        return self.money(self.low * (self.high / self.low) ** self.rng.random())

    def share(self, value: float, whole: bool = False) -> str:
        """A price of a share, or what is earned or paid on one."""
        return _SYMBOLS.get(self.currency, self.currency + " ") + _shown(value, 0 if whole or value >= 1000 else 2)

    def pair(self, new: str, old: str, low: float, high: float, show: _Show, spread: float = 0.35) -> None:
        """Two figures in the order that up says, and diff and pct as they follow from what is shown."""
        while True:
            base = low * (high / low) ** self.rng.random()
            self[new], self[old] = show(base * (1 + self.up * self.rng.uniform(0.03, 1) * spread)), show(base)
            gap = _read(self[new]) - _read(self[old])
            if gap * self.up > 0 or not self.up:
                break
        self["diff"] = show(abs(gap))
        change = abs(gap) / _read(self[old]) * 100
        self["pct"] = self.pct(change, change)

    def pair_money(self) -> None:
        self.pair("cur", "prev", self.low, self.high, self.money)

    def pair_share(self, new: str, low: float, high: float, whole: bool = False) -> None:
        factor = {"JPY": 60, "KRW": 600, "INR": 12}.get(self.currency, 1)
        self.pair(new, new + "0", low * factor, high * factor, lambda value: self.share(value, whole))

    def pair_indicator(self) -> None:
        """An economic figure and its forecast."""
        self["ind"], low, high = self.rng.choice(_PRICES if self.inverse else _ACTIVITY)
        if low == "0":
            base, step = self.rng.randint(*((505, 560) if self.up >= 0 else (450, 495))), self.rng.randint(1, 19)
        else:
            base = round(self.rng.uniform(float(low), float(high)) * 10)
            step = self.rng.randint(1, max(1, min(base // 3, 9)))
        for key, tenths in (("act", base + self.up * step), ("fc", base)):
            self[key] = f"{tenths / 10:.1f}" if low == "0" else self.pct(tenths / 10, tenths / 10)

    def pair_index(self) -> None:
        self["ix"], usual = self.rng.choice(INDICES)
        level = float(usual) * self.rng.uniform(0.8, 1.25)
        self.pair("lvl", "lvl0", level, level, lambda value: _shown(value, 0 if level > 1000 else 1), 0.031)

    def pair_metal(self) -> None:
        self["metal"], usual, unit = self.rng.choice(METALS)
        level = float(usual) * self.rng.uniform(0.75, 1.3)
        self.pair("mp", "mp0", level, level, lambda value: f"${_shown(value, 0 if level > 500 else 2)} {unit}", 0.06)

    def pair_fx(self) -> None:
        """A currency and its rates; a stronger one needs fewer units to the dollar."""
        self["fx"], usual = self.rng.choice(_FX)
        level = _read(usual) * self.rng.uniform(0.93, 1.07)
        digits = 4 if level < 20 else 2 if level < 400 else 0
        form, turn = ("$%s", 1) if usual[0] == "$" else ("%s per dollar", -1)
        self.up *= turn
        self.pair("fx1", "fx0", level, level, lambda value: form % _shown(value, digits), 0.03)
        self.up *= turn

    def central(self) -> None:
        """The rate of a central bank, old and new."""
        old, step = self.rng.randint(4, 30), self.rng.choice([1, 1, 2, 3])
        self["r0"], self["r1"], self["bp"] = f"{old / 4:.2f}%", f"{(old + self.up * step) / 4:.2f}%", str(25 * step)

    def rating(self) -> None:
        """A credit rating, old and new."""
        scale = _SCALES[self["agency"] == "Moody's"]
        place, step = self.rng.randint(3, 14), self.rng.choice([1, 1, 2])
        self["rt0"], self["rt"] = scale[place], scale[place - self.up * step]
        self["notch"] = "one notch" if step == 1 else "two notches"

    def ticker(self) -> str:
        name = re.sub(r"[^A-Z]", "", self["c"].translate(str.maketrans("éäøöúóãØÖ", "eaoouoaOO")).upper())
        return name if len(name) < 5 else name[0] + (re.sub("[AEIOU]", "", name[1:]) + "X")[:3]

    def rival(self) -> str:
        return self.pick([one.name for one in COMPANIES if one.sector == self.company.sector])

    def item(self) -> str:
        return self.rng.choice(LISTS["bankitem" if self.company.sector in ("bank", "insurer") else "anyitem"])


_COUNTS = {
    **{"staff": (900, 90000, 100), "thou": (12000, 900000, 1000), "area": (2000, 60000, 500), "k": (3, 40, 1)},
    **{"shares": (10_000_000, 400_000_000, 1237), "lot": (12_000, 900_000, 151), "hour": (9, 18, 1)},
}
_RANGES = {"move": (1.1, 8), "big": (9, 38), "slow": (0.6, 3.4), "fast": (4.1, 14), "stake": (5, 49), "mort": (5, 14)}
# What fills a slot; None where several are filled together.
_MAKERS: dict[str, Callable[[_Slots], str | None]] = {
    "c2": _Slots.rival,
    "c3": _Slots.rival,
    "goods": lambda s: s.pick(s.goods),
    "tick": _Slots.ticker,
    "city": lambda s: s.pick([city for one in COUNTRIES.values() for city in one[3].split(", ")]),
    "country": lambda s: s.pick([one[0] for one in COUNTRIES.values()]),
    "nation": lambda s: s.pick([one[1] for one in COUNTRIES.values()]),
    "p": lambda s: f"{s['first']} {s['last']}",
    "issuer": lambda s: s.rng.choice([s["c"], s["country"]]),
    "item": _Slots.item,
    "item1": lambda s: s.item().replace("net sales", "revenue"),
    "was": lambda s: "were" if s["item"] == "net sales" else "was",
    "date": lambda s: f"{s.rng.randint(2, 28)} {s['month']} {s['y']}",
    "n": lambda s: s.number(120, 1000, 10) if s.rng.random() < 0.5 else s.number(1000, 9000, 100),
    "amt": _Slots.amount,
    "amtp": _Slots.amount,
    "usd": lambda s: f"${s.rng.uniform(1.1, 9.8):.1f} billion",
    "barrel": lambda s: f"${s.rng.uniform(45, 115):.2f}",
    "mv": lambda s: f"{s.rng.uniform(1.1, 12):.1f}%",
    "prem": lambda s: f"{s.rng.randint(12, 58)}%",
    "why": lambda s: s["goodn" if s.sign == "+" else "badn"],
    "yield": lambda s: f"{s.rng.uniform(0.9, 7.8):.2f}%",
    "tenor": lambda s: f"{s.rng.choice([3, 5, 7, 10, 12, 15, 20])}-year",
    **dict.fromkeys(("cur", "prev", "pct", "diff"), _Slots.pair_money),
    **dict.fromkeys(("eps", "eps0"), lambda s: s.pair_share("eps", 0.2, 6)),
    **dict.fromkeys(("dv", "dv0"), lambda s: s.pair_share("dv", 0.1, 4)),
    **dict.fromkeys(("tg", "tg0"), lambda s: s.pair_share("tg", 6, 400)),
    **dict.fromkeys(("pt", "pt0"), lambda s: s.pair_share("pt", 12, 480, whole=True)),
    **dict.fromkeys(("ind", "act", "fc"), _Slots.pair_indicator),
    **dict.fromkeys(("ix", "lvl", "lvl0"), _Slots.pair_index),
    **dict.fromkeys(("metal", "mp", "mp0"), _Slots.pair_metal),
    **dict.fromkeys(("fx", "fx1", "fx0"), _Slots.pair_fx),
    **dict.fromkeys(("r0", "r1", "bp"), _Slots.central),
    **dict.fromkeys(("rt", "rt0", "notch"), _Slots.rating),
}

# A grammar opens with "== kind topic companies", then "inverse" where a rise of the figure is bad news, "about" where
# the company may be described in the body. A template opens with its label: + - = as in _SENTIMENTS, ~ neutral with a
# direction, * by the direction of its figures; #T sets another topic, @s other companies. "<a|b>" is a when the figure
# rises and b when it falls, "[a/b]" either, "a(n)" the article that fits. ">+", ">-" and ">=" open a body for the
# templates of that label. Those on one line are parted by ";;".
_GRAMMARS = """
== profit F corp,fin about
* {c} said that {item} had <increased|decreased> by {pct} to {cur} in {q}. ;; = {c} reports {item} of {cur} for {q}
* {c} {Q} {item1} {cur} vs {prev} ;; >= [The figures have not been audited./The next report is due in {month}.]
* {c}'s {item} {was} {cur} in {y}; the figure for {y0} was {prev}. ;; * {item} <rose|fell> to {cur} from {prev} {yago}.
* {c}'s {item} for {q} {was} {cur}, <up|down> from {prev} {yago}.
* {item} [amounted/came] to {cur} (previous year: {prev}) in {q}.
* compared with {prev} {yago}, {c}'s {item} {was} {cur} in {q}. ;; * {c} posts {pct} <rise|drop> in {Q} {item1} to {cur}
* {c}: {Q} {item1} <climbs|slides> to {cur} on {why} ;; >+ [The improvement came from/The company pointed to] {goodn2}.
* {item} in {q} totalled {cur}, compared with {prev} {yago}. ;; = of {c}'s {item1} in {q}, {stake} came from {country}.
+ {c} reports record {Q} {item1} of {cur} on {goodn}
-@retail,food {c}'s like-for-like sales growth slowed to {slow} from {fast} in the previous quarter
= {c}'s {Q} {item1} level with the year before at {cur} ;; >- [The company blamed/Management put it down to] {badn2}.
== loss F corp inverse about
* the {lossitem} was {cur} in {q}, compared with a loss of {prev} {yago}. ;; * {c} {Q} {lossitem} {cur} vs loss {prev}
* {c}'s {lossitem} <widened|narrowed> to {cur} from {prev} {yago}.
* a loss of {prev} {yago} <grew|shrank> to {cur} in {q}, {c} said.
* {c}'s {lossitem} for {y} was {cur} (loss of {prev} in {y0}). ;; * {c}'s {lossitem} <swells|shrinks> by {pct} to {cur}
* {c} <deepens|trims> {Q} loss to {cur} from {prev}
+ operating profit totalled {cur}, compared to a loss of {prev} {yago}. ;; >+ The better result came from {goodn}.
+ {c} returns to profit in {q}: {cur} after a loss of {prev} {yago}
+ {c} turned a loss of {prev} into a profit of {cur} in {q} ;; - {c} swings to {Q} loss of {cur} from profit of {prev}
- {c} made a net loss of {cur} in {q}, against a profit of {prev} {yago}. ;; >= The change has no effect on cash flow.
= {c} changes its reporting segments from {month} {y1}; comparison figures will be published before then.
= the result of {c}'s {nation} unit will be shown as a discontinued operation from {month} {y1}.
= {c}'s board proposes that the result for {y} be transferred to retained earnings. ;; >- The company blamed {badn}.
== orders F machine,defence,build,tech about
* {c}'s book-to-bill ratio <climbs above|falls below> one as orders <outpace|trail> sales
* at {cur}, {c}'s {book} was <larger|smaller> than a year earlier, when it was {prev}.
* {c}'s {book} stood at {cur} at the end of {month}, compared with {prev} {yago}. ;; * {c} {Q} {intake} {cur} vs {prev}
* orders for {goods} [at {c} <jump|slump> by/<grow|drop>] {big} in {q} ;; >= More details will follow in the {Q} report.
* {intake} <rose|fell> by {pct} to {cur} in {q}. ;; = about {stake} of {c}'s {book} is scheduled for delivery in {y1}.
* {c}'s {book} <swells|shrinks> to {cur} from {prev} ;; - customers put off orders for {goods} worth {cur}, {c} says
* {c} ended {q} with a(n) {book} of {cur} ({prev}). ;; = {c}'s {book} was {cur} at the end of {month}.
+ {c}'s {book} hits record {cur} ;; >+ [Demand was strongest in {country}./Customers in {country} ordered more {goods}.]
= the {book} of {c} includes {goods} for customers in {country} and {country3}.
>- [Customers in {country} put off their purchases./Demand was weakest in {country}.]
== consensus F corp,bank about
* {c}'s {item1} of {cur} came in {pct} <above|below> the average estimate of {prev}.
* {c}'s {Q} {item1} of {cur} <tops|falls short of> the {prev} analysts had forecast
* {c} <beats|misses> {Q} estimates with adjusted EPS of {eps}, consensus {eps0}
* the market expected {c} to earn {eps0} a share in {q}; it earned {eps}. ;; * {c} {Q} revenue {cur} vs {prev} consensus
* analysts had expected {c} to report {item1} of {prev}; it made {cur}. ;; * ${tick} {c} {Q} EPS {eps}, est. {eps0}
* {c} <surpasses|fails to meet> {Q} expectations on {why} ;; * {c} <beats|misses> on revenue by {diff}: {cur} in {q}
* {c} {Q} EPS {eps} vs {eps0} expected
= {c} {Q} revenue of {cur} in line with expectations ;; >+ Analysts had [looked for less/been more cautious].
= {c} {Q} EPS {eps} matches consensus of {eps0} ;; >- Analysts had [looked for more/been more hopeful].
= {c} meets forecasts with {Q} {item1} of {cur} ;; >= Analysts had expected about as much.
== guidance F corp about
* {c} now expects {item1} of {cur} in {y}, having earlier guided to {prev}. ;; - {c} issues profit warning on {badn}
* {c} sees {y} {item1} at {cur}, previously {prev} ;; - {c} estimates that net sales for {y} will be lower than in {y0}.
* {c} <raises|cuts> {y} {item1} forecast to {cur} from {prev} ;; * {c} <lifts|lowers> full-year outlook on {why}
+ {c} now sees sales growing {fast} in {y}, up from its earlier forecast of {slow} ;; >- The {noun} cited {badn2}.
+ {c} says operating profit for {y} will clearly exceed last year's ;; = {c} keeps full-year forecast after {Q} figures
- {c} expects sales to grow by {slow} in {y}, not the {fast} it forecast in {month} ;; >+ The {noun} cited {goodn2}.
- {c} withdraws {y} outlook, citing {badn}
= {c} to give guidance for {y1} together with its {Q} report ;; = {c} reiterates {y} guidance: {item1} of {cur}
>= [Management gave no further details./The assumptions behind the forecast are the same as before.]
== contracts N machine,defence,build,soft,tech,ship about
+ breakthrough for {c} in {country} as first order for {goods} is signed ;; - {client} cancels {amtp} order with {c}
+ {c} lands its largest order yet: {goods} worth {amt} for {client}
+ {c} wins a(n) {amtp} contract to supply {goods} to {client} ;; + {client} picks {c} over {c2} for a(n) {amtp} contract
+ {c} has secured an order worth {amt} from {client}.
- {c} loses {amtp} contract to {c2} ;; >= [The company gave no further details./The work will be managed from {home}.]
- {c} says {client} has terminated a contract for {goods} worth {amt}.
- {c} fails to win renewal of {amtp} contract in {country} ;; - {c} ousted by {c2} as supplier of {goods} to {client}
= deliveries of the {goods} from {c} to {client} are scheduled to start in {month} {y1}.
= {c} is one of {tally} bidders for a tender for {goods} in {country}
= {c}'s contract with {client} covers {goods} and runs until {y2}.
>- [It was one of {c}'s largest contracts./The company had counted on the work for its {home} {site}.]
>+ [The work will be done in {home}./The deal keeps the {home} {site} busy until {y2}.]
== facts N make,serve about
= {c}'s agreement with {c2} covers the supply of {goods} and runs until the end of {y2}.
= the contract covers {goods} for {city}, training and {few} years of maintenance.
= {c} and {c2} have agreed to use a common standard for {goods} from {month} {y1}
= {c}'s {nation} unit is to be renamed in {month} and will keep its management.
= {c} [develops and sells/supplies] {goods} and employs about {staff} people.
= financial terms of the agreement between {c} and {c2} were not disclosed.
=@make,retail {c} shows its new range of {goods} at a trade fair in {city}
= {c}'s head office is in {home}, and its largest {site} is in {city}. ;; = {c} adds {goods} to its range in {country}
= {c} owns {stake} of the joint venture, and {c2} holds the rest. ;; = {c} has {k} {sites} in {country} and {country3}.
= the {goods} will be delivered to {city} in {month} {y1}. ;; = {c}'s {site} in {city} covers {area} square metres.
>= [The company was founded in {home}./{c} sells its {goods} through local partners.]
== notices N corp,bank about
= a total of {lot} {c} shares were subscribed for with stock options between {month} and {month2}.
= the number of {c} shares rises to {shares} after the registration of {lot} new shares.
=#M {fund} holds {stake} of the shares and votes in {c} after a transaction on {date}.
= {c} transfers {lot} of its own shares to key staff under the incentive plan
= {c}'s share capital is divided into {shares} shares, each with one vote.
= {c}'s board will propose {p} as auditor to the annual general meeting.
=#E {c} to hold conference call on {Q} results at {hour}:00 on {day} ;; = trading in {c}'s new shares begins on {date}.
= {c}'s annual general meeting will be held in {home} on {date}.
=#E {c} will publish its {Q} report on {date} at {hour}:00. ;; = {c} publishes its annual report for {y} on its website
= {c}'s share will trade under a new symbol from {date}
>= [The company gave notice on {day}./The documents are on the company's website.]
== workforce N corp,bank about
+ {c} to hire {n} people in {city} to meet demand for {goods} ;; + {c} scraps plan to cut {n} jobs as business recovers
+ growth in {country} lets {c} expand its staff by {n} ;; = {c} and {union} to start talks on shift patterns in {month}
+@make {c} calls back {n} laid-off workers as orders recover ;; - {c} warns that {n} jobs are at risk in {country}
+ {c} adds {n} jobs at its {city} {site} after a record year
- {c} lays off {whole}% of its staff ;; = {c} had {staff} employees at the end of {month}, as many as a year earlier.
- {c} to cut {n} jobs on {badn} ;; >- [Unions called the plan a shock./The company hopes to save {amt} a year.]
- {c} starts talks on temporary lay-offs of up to {n} employees in {city}.
-@make the cuts will affect {n} employees at {c}'s {site} in {city}.
= the average number of {c} employees was {staff} in {y}.
>+ [The first of the new posts will be filled in {month}./Business is the best in years.]
>= [About half of the staff work in {land}./Pay and terms stay as they are.]
== plants N works about
+ {c} doubles capacity in {city} on {goodn} ;; >- [The {site} makes {goods}./Customers have been told to expect delays.]
+ {c} restarts {city} {site} after {trouble}, with output back to normal ;; - {c} idles {site} in {city} on {badn}
+ {c}'s {city} {site} reaches full output months ahead of plan ;; - {c} to close {city} {site} with the loss of {n} jobs
+ {c} saves {city} {site} from closure with order for {goods} ;; - {trouble} stops production at {c}'s {site} in {city}
- {c} ends output of {goods} in {land} and shuts its {home} {site} ;; = {c} plans to build a new {site} near {city}
- {c} halts output at its {city} {site} for lack of parts
= {c} opens {site} in {city} ;; >= [The {site} makes {goods} for customers in {country}./{p} will manage the {site}.]
= {c} starts yearly maintenance stop at {city} {site} as scheduled
= {c}'s new {site} in {city} will make {goods} from {month} {y1}
>+ [Customers had been waiting for {goods}./The {site} runs in three shifts again.]
== shares S corp,fin about
* {c} share price <jumps|drops> from {tg0} to {tg} in [early/morning/afternoon] trade
* {c} shares <hit their highest|sink to their lowest> since {month} {y0} ;; = {c} ends unchanged at {tg} in thin trading
* {c} stock <jumps|tumbles> {big} after profit <beats|misses> forecasts ;; = {c} shares little changed after {Q} figures
* {c} <tops|is bottom of> the {adj} market with a(n) {move} <gain|loss> ;; * shares in {c} <gain|lose> {move} on {why}
* {c} shares <rise|fall> for a {ord} day, <up|down> {move} since {day} ;; = {c} shares flat ahead of {Q} results
* {c}'s market value <swells|shrinks> by a {frac} in a week ;; * {c} closes at {tg}, <up|down> from {tg0} on {day}
+ short sellers nurse losses as {c} shares surge {big} ;; >+ [Traders pointed to {goodn2}./Volume was twice the usual.]
- {c} shares give up early gains to close {move} lower ;; >- [Traders pointed to {badn2}./Volume was twice the usual.]
>= Volume was below the average of the past month.
== cashtag S corp,bank
* ${tick} <+|->{mv} as {c} <wins|loses> a big customer in {country} ;; >- [Sellers pointed to {badn2}./Volume is heavy.]
* ${tick} <breaks above|falls through> its 200-day average at {tg} ;; * ${tick} <+|->{mv} pre-market after {Q} numbers
* ${tick}: {c} <pops|sinks> {mv} after it <raises|cuts> guidance ;; * premarket <gainers|losers>: ${tick} <+|->{mv}
* {c} (${tick}) <rallies|slides> {mv} on heavy volume ;; =#E ${tick} reports {Q} results on {day} before the open
* ${tick} <up|down> {move} premarket on {why} ;; * why ${tick} is <up|down> {mv} today: {why}
* ${tick} trades at {tg} vs close of {tg0} ;; >+ [Buyers liked {goodn2}./Volume is heavy.] ;; >= Volume is thin so far.
=#E ${tick} conference call starts at {hour}:00 ;; = ${tick} flat pre-market ahead of {Q} results
= ${tick} unchanged at {tg} after hours
== index K all
* stocks <higher|lower> at the close, with {ix} at {lvl} compared with {lvl0} on {day} ;; = {ix} ends flat at {lvl}
* investors <put {usd} into|pull {usd} out of> {nation} equity funds in {month}
* stocks <rally|sell off> in {hub} after <softer|hotter> inflation figures ;; * {ix} ends at {lvl}, from {lvl0} on {day}
* {nation} stocks <rise|fall> as banks and carmakers <rebound|slide> ;; * {ix} <gains|loses> {diff} points to {lvl}
* {ix} futures <up|down> {diff} points before the open ;; * {ix} closes at its <highest|lowest> since {month}
* {ix} closes <up|down> {pct} at {lvl}
= {hub} stocks mixed as gains in [banks/chipmakers/carmakers] offset losses in [miners/retailers/oil firms]
= {ix} little changed as traders await [inflation figures/rate decision/jobs data]
= changes to the {ix} take effect on {date} ;; >= [Trading was thin./The next sessions follow the usual timetable.]
>+ [All but {few} of the members of the index rose./Exporters led the gains./Traders were cheerful.]
>- [All but {few} of the members of the index fell./Exporters led the losses./Traders were glum.]
== analyst A corp about
* {c} shares <undervalued|overvalued> given {why}, says {broker}, which rates them <buy|sell>
* ${tick} - {broker} <upgrades to overweight|downgrades to underweight> ;; = ${tick} - {broker} stays at market perform
* {c} <raised|cut> to <outperform|underperform> at {broker} on {why} ;; >= The broker sees risk and reward in balance.
* {broker} <adds {c} to|strikes {c} from> its list of top picks ;; * price target on {c} now {pt}, was {pt0}: {broker}
* {broker} <ups|trims> its earnings estimates for {c} on {why} ;; * {broker} <upgrades|downgrades> {c} to <buy|sell>
* {broker} starts {c} at <buy|sell> ;; = {broker} keeps hold rating on {c}, target unchanged at {pt}
* {broker} <raises|cuts> {c} price target to {pt} from {pt0} ;; = {broker} initiates {c} at neutral
* {c}: {broker} <lifts|lowers> target price to {pt} ({pt0}) ;; >+ The analyst expects {goodn2}.
>- The analyst expects {badn2}.
== dividend D corp,fin about
* {c}'s board proposes a dividend of {dv} per share for {y} ({y0}: {dv0}). ;; - {c} scraps dividend after {badn}
* {c} <raises|cuts> quarterly dividend to {dv} from {dv0} ;; * {c} to pay {dv} a share, compared with {dv0} last year
+ {c} raises dividend for the {ord} year running ;; = {c} shares trade without the right to the {dv} dividend from {day}
+ {c} resumes dividend after {few}-year break with {dv} a share ;; + {c} declares special dividend of {dv} per share
- {c} suspends dividend to save cash ;; = the dividend will be paid to holders who are on {c}'s register on {date}.
- {c} skips interim dividend for first time since {y0} ;; = {c}'s dividend of {dv} will be paid on {date}
= {c} declares dividend of {dv} per share, unchanged from last quarter ;; >- The board cited {badn2}.
>= [The dividend policy is the same as before./Holders may choose to be paid in shares.] ;; >+ The board cited {goodn2}.
== rating T corp,fin
* {issuer} to be charged <less|more> for credit after {agency} <upgrade|downgrade>
* {agency} sees {issuer}'s ability to repay its debts <improving|weakening>
* {agency} <raises|lowers> {issuer}'s rating by {notch} to {rt} ;; * {agency}: {issuer} now rated {rt}, previously {rt0}
* {issuer}'s credit rating goes to {rt} from {rt0} at {agency} ;; * {agency} <upgrades|cuts> {issuer} to {rt} from {rt0}
* {agency} revises outlook on {issuer} to <positive|negative> ;; = {agency} assigns {rt} rating to {issuer}'s new notes
* {agency} puts {issuer} on watch for <upgrade|downgrade> ;; * {issuer} <wins back|loses> investment grade at {agency}
= {agency} withdraws rating on {issuer} at the issuer's request ;; = {agency} affirms {issuer} at {rt}, outlook stable
= {agency} to publish review of {issuer} on {day} ;; >= The agency gave its reasons in a report.
>+ [Debt has come down faster than planned./The agency cited a stronger balance sheet.]
>- [Debt has grown faster than planned./The agency cited a weaker balance sheet.]
== bonds T corp,bank
+ orders for {c}'s {tenor} bond exceed the offer {few} times, coupon set below guidance
+ {c} repays {amtp} loan early ;; >- [Lenders may have to wait for their money./The debt trades at distressed prices.]
+ {nation} borrowing costs drop to lowest in {few} years, easing strain on budget ;; >= Trading in the debt was quiet.
+ {c} wins consent of lenders to extend {amtp} loan, ending fears of default
- {nation} {tenor} bond spread at widest in {few} years as investors flee ;; - {c} misses coupon payment on {amtp} bond
- {c} pulls {tenor} bond sale for lack of demand ;; = {country} sells {usd} of {tenor} bonds at average yield of {yield}
- {c} asks bondholders for more time as repayment of {amt} looms ;; = {nation} {tenor} yield little changed at {yield}
- {country} fails to find buyers for all of its {tenor} bonds
= {c} prices {amtp} of {tenor} bonds at a coupon of {yield}
= {c} signs {amtp} revolving credit facility with {k} banks
>+ [It was more than lenders had hoped for./Investors welcomed the news.]
== deals M corp about
+ {c} and {c2} clear last hurdle to merger after regulators give consent ;; - {buyer} walks away from {amtp} bid for {c}
+ {c} agrees to be bought by {buyer} for {amt}, a(n) {prem} premium ;; - {c2} lowers offer for {c} to {cur} from {prev}
+ {c} shareholders win {prem} premium in {amtp} sale to {c2} ;; - merger talks between {c} and {c2} collapse over price
+ bidding war breaks out over {c} as {c2} tops {buyer} offer ;; = {c} in talks to buy {c2}'s {nation} unit, sources say
+ {c2} raises bid for {c} to {cur} from {prev} ;; - {c} drops {amtp} takeover of {c2} after regulators object
- sale of {c}'s {nation} business falls through ;; >+ [The board recommends the offer./Shareholders are paid in cash.]
= {c} to put its {nation} operations into joint venture owned in equal parts with {c2}
= {c} acquires a {city}-based supplier of {goods}; the price was not disclosed.
= {c} weighs sale of its {nation} business
>- [Shares in the company fell./Advisers had worked on it for {few} months.]
>= [The business has about {n} employees./The company declined to comment.]
== regulator L corp,fin about
+ {nation} {watchdog} closes probe into {c} without action ;; - {nation} {watchdog} fines {c} {amt} over {offence}
+@pharma {c} wins approval for {drug} in {country} ;; + {c} cleared of {offence} by {nation} court
+ court throws out {amtp} suit against {c} ;; = hearing in {c} case set for {date}
- court orders {c} to pay {amt} over {offence} ;; = {nation} {watchdog} publishes guidance on the labelling of {goods}
-@inv {c} raided by {nation} police in inquiry into {offence} ;; - {nation} {watchdog} opens probe into {offence} at {c}
-@inv prosecutors charge {c} and its founder with fraud ;; = {nation} {watchdog} opens consultation on rules for {goods}
= new {nation} rules on {goods} take effect in {month} ;; >+ [The decision is final./The company welcomed the decision.]
>- [The company said it would defend itself./It is not the first such case.] ;; >= The schedule was published on {day}.
== centralbank B all
+ {cb} rate cut to {r1} brings relief to [borrowers/homeowners/small firms] ;; ~ {cb} moves key rate to {r1} from {r0}
+ {cb} lends banks {usd}, easing cash squeeze ;; >- [Households feel it first./Defaults have doubled in {few} quarters.]
+ {cb} says inflation will be back at target sooner than it thought
- {cb} rate rise squeezes [homeowners/builders/small firms] as loans cost {mort} ;; - {cb} sees economy shrinking in {y}
- {cb} warns banks of rising losses on loans as borrowers pay {mort} ;; = {cb} holds key rate at {r0}
~ economists expect {cbl} to <raise|cut> its rate to {r1} in {month} ;; ~ {cb} minutes show members split on <hike|cut>
~ {cb} <raises|cuts> key rate by {bp} basis points to {r1} ;; = {cb} keeps policy unchanged in {month}, as expected
= {cb} governor to speak in {city} on {day} ;; >+ [Borrowers will notice it from {month}./Lenders welcomed the news.]
>= [The next meeting is in {month}./The governor will hold a press conference on {day}./The vote was {few} to one.]
== prices X all inverse
* {ind} <picks up|slows> again in {country}, to the <worry|relief> of [households/shops/policymakers]
* {ind} in {country} came in at {act} for {month}, <above|below> the {fc} economists had forecast.
* {nation} {ind} <overshoots|undershoots> forecasts in {month}: {act} against {fc}
* economists expected {nation} {ind} of {fc} in {month}; the figure was {act}.
* {nation} {ind} <higher|lower> than expected at {act}, consensus {fc} ;; * {country}: {ind} {act} in {month}, est. {fc}
* {nation} {ind} <jumps to highest|eases to lowest> in {few} years ;; * BREAKING: {nation} {ind} {act} versus {fc} exp.
* {nation} {ind} at {act} in {month} vs {fc} forecast ;; >= The statistics office publishes the details on {day}.
= statisticians to change the way they measure {nation} {ind} from {y1} ;; = {nation} {ind} matches consensus at {act}
= {nation} {ind} {act} in {month}, in line with forecasts ;; = figures for {nation} {ind} in {month} are due on {day}
>- It was the {ord} month of deterioration. ;; >+ It was the {ord} month of improvement.
== activity X all
* {nation} {ind} <surprises on the upside|disappoints> at {act} against {fc} expected
* {ind} in {country} was {act}, <better|worse> than the {fc} forecast by economists.
* {nation} economy <gains|loses> steam as {ind} comes in at {act}, est. {fc}
* economists' consensus of {fc} <beaten|missed>: {nation} {ind} {act}
* {country} <grows out of|slides into> recession, {month} data show ;; * {nation} {ind} {act} in {month} (forecast {fc})
* {nation} consumer confidence <improves|worsens> for a {ord} month ;; * {nation} firms <add|cut> {thou} jobs in {month}
* housing starts in {country} <rise|fall> {move} in {month} ;; * {act} vs {fc} expected: {nation} {ind} for {month}
= {country} to revise weights in its output statistics in {y1} ;; = {nation} {ind} for {month} to be published on {day}
= {nation} {ind} of {act} in line with consensus
>+ [Retailers and builders did best./Demand at home was stronger than thought.]
>- [Retailers and builders did worst./Demand at home was weaker than thought.]
>= [Economists had expected as much./Revised figures follow in {month}.]
== energy O oil
+ [gas/electricity/heating] bills fall {move}, a relief to households in {country} ;; >= Analysts had expected as much.
+ {c} makes large gas find off {country} ;; - rise in {fuel} prices hurts [hauliers/farmers/fishermen] in {country}
+ {c} lifts output to record {thou} barrels a day ;; = {c} shuts unit at its {home} refinery for planned maintenance
+ {country} restores supply of {fuel} after {few}-day cut ;; = OPEC+ ministers meet in {city} on {day} to discuss output
- pipeline leak cuts supply of [gas/diesel/crude/petrol] to {country} ;; - {crude} falls {move} as demand worries mount
- {country} faces shortage of {fuel} this winter ;; = {c}'s field off {country} produces {thou} barrels a day.
= {crude} settles at {barrel} a barrel ;; = {crude} gains {move} in {hub} trade
>- [Analysts see no quick recovery./The effects may last for months.] ;; >+ Analysts had not expected it so soon.
== metals G miner
* {metal} <climbs|drops> {move} on <hopes for|worries about> {nation} demand ;; - {nation} smelters run short of {metal}
* {metal} at {mp}, compared with {mp0} on {day} ;; >- [Shares in mining companies fell./Analysts see no quick recovery.]
* {metal} price now {mp}, from {mp0} a week ago ;; = stocks of {ore} in exchange warehouses unchanged at {thou} tonnes
* spot {metal} <up|down> {pct} at {mp} ;; - {c} cuts {metal} output forecast after {trouble} in {country}
* {metal} <rises|falls> {pct} to {mp} ;; = {metal} steady at {mp} ;; >= Analysts had expected as much.
+ {c} digs record {thou} tonnes of {ore} ;; = exchange to change opening hours for {metal} trading in {month}
+ {c} restarts {nation} mine {few} weeks ahead of plan ;; = {c}'s {nation} mine produces {thou} tonnes of {ore} a year.
- {c}'s {nation} mine halted by {trouble} ;; >+ [Shares in mining companies rose./Analysts had not expected it so soon.]
== currencies U all
* {fx} <recovers|slides again> as investors <return to|leave> the country's {tenor} bonds ;; >= Volumes were low.
* traders <buy|sell> the {fx} after trade figures, pushing it to {fx1} from {fx0} ;; * {fx} <up|down> {pct}, last {fx1}
* {fx} <rallies|tumbles> after central bank <steps in|fails to step in> on {day}
* the {fx} was at {fx1} in {hub} trade, compared with {fx0} on {day}. ;; + {fx} leads gains in its region, adding {pct}
* the {fx} <gained|lost> {pct} against the dollar to trade at {fx1} ;; = new {fx} coins to enter circulation in {month}
* {fx} <firms|slips> to {fx1} from {fx0} ;; >+ [Exporters' conversions helped./Foreign investors were buyers.]
* {fx} at its <strongest|weakest> since {month} at {fx1} ;; - importers count the cost as {fx} hits record low of {fx1}
= {fx} little changed in thin {hub} trade ;; >- [Importers' demand for dollars weighed./Foreign investors were sellers.]
= {fx} steady at {fx1} before central bank decision
== ipo I inv about
+ {c} prices IPO above range at {tg} a share ;; >+ [Funds took most of the shares./Books were covered on the first day.]
+ {c} shares jump {big} on their first day on {exchange} ;; = {c} prices IPO at {tg} a share, the midpoint of the range
+ {c} raises size of IPO after strong orders ;; - {c} prices IPO below range at {tg} a share
+ {c} IPO {few} times covered within hours ;; - {c} postpones IPO, citing weak markets
- {c} abandons {exchange} listing after too few orders ;; >= [{broker} is the lead manager./The company makes {goods}.]
- {c} shares drop {big} below IPO price on debut ;; - {c} cuts IPO size as investors balk at price
= {c} files for listing on {exchange} ;; >- [Advisers had hoped for more demand./Investors had doubts about the price.]
= {c} hires {broker} to prepare listing on {exchange} ;; = {c} publishes prospectus for IPO on {exchange}
== people P corp,fin about
-@inv {c} fires {role} {p} and two others after audit finds missing funds ;; = {p} appointed {role} of {c} from {month}
- {c} in turmoil as {role} and {few} directors walk out in protest ;; -@inv {role} of {c} ousted after expenses scandal
-@inv {c} dismisses {role} {p} over falsified accounts ;; = {p} to leave {c} at the end of {month} to join {c2}
-@inv {c}'s {role} quits at once amid bribery inquiry ;; = {c}'s {role} {p} to retire in {month} {y1}
= {c} promotes {p} to {role} ;; >= [The company made the announcement on {day}./The board took the decision on {day}.]
= {c} names {p} {role} ;; >- [Shares in the company fell on the news./The board gave no further explanation.]
= {c} hires {p} from {c2} as {role} ;; = {c} begins search for new {role} ;; = {p} elected to the board of {c}.
== deposits N ibank about
* customers <bring {amt} back to|withdraw {amt} from> {c} within {few} days ;; = deposits at {c} unchanged at {cur}
* deposits at {c} <rose|fell> to {cur} from {prev} at the end of {month} ;; + {c} gets {amtp} lifeline from shareholders
* {c}'s customer deposits were {cur}, compared with {prev} {yago}. ;; = {c} says its liquidity of {amt} is sufficient
* {c} says outflows have <stopped|quickened> since {day} ;; = supervisor says trouble in {country} has not reached {c}
* {c} <lifts|sets> daily limit on withdrawals from {day} ;; * {c} <repays|draws> {amt} of emergency [loans/funding]
+ guarantee of all deposits ends queues at {c} {sites} in {home}
- savers queue at {c} {sites} after {few} days of outflows ;; - {nation} rivals refuse to lend to {c} as deposits shrink
= {c} denies that customers in {city} are leaving ;; >= [The bank gave no further details./Branches were open as usual.]
>- [The supervisor is watching closely./Depositors said they were worried.]
>+ [Depositors said they were relieved./The supervisor welcomed the news.]
== denials N corp about
+#M {c} confirms {buyer} offer at {prem} premium after days of rumours ;; -#M {c} denies takeover talks with {c2}
+ {c} wins state guarantee after {few} days of rumours about its cash
+ creditors calm fears over {c} with new {amtp} credit line ;; - government denies that it is preparing a rescue of {c}
-#D {c} rules out special dividend that investors had hoped for ;; -#M {buyer} says it does not intend to bid for {c}
-#M {c} says {c2} has made no offer, dashing hopes of sale ;; >- Shares in the company had risen on the reports.
= {c} denies report of [cash shortage/accounting errors/plans to cut jobs in {country}]
= {c} rejects rumours about its [solvency/accounts/supply of {goods}]
= {c} assures customers in {country} that deliveries go on as usual ;; = {c} says it has no exposure to {c2}'s troubles
= {c} says its {goods} are safe after complaints
>= [A spokesman did not elaborate./The report had cited people it did not name.] ;; >+ Investors welcomed the news.
== negations F corp about
+#N {c} does not need state aid after all ;; =#N production at {c}'s {city} {site} not affected by {trouble} in the area
+#N@works {c} will not close its {city} {site} after all, saving {n} jobs ;; >= A spokeswoman gave no further details.
+#T {c} avoids default by paying overdue interest on {amtp} bond ;; - {c} does not manage to return to profit in {q}
+#L {c} will not be fined over {offence} ;; >+ The news came as a relief to [investors/staff/suppliers].
+ {c} no longer expects a loss for {y} ;; >- Observers had hoped for better news.
-#N no rescuer found for {c}'s {nation} business, {n} jobs to go ;; -#N {c} not to get state aid it had asked for
- {c}'s sales have not recovered from a slump in {country} ;; - {c} no longer expects a profit for {y}
=#N {c} does not comment on reports about its {nation} unit ;; = {c} did not miss forecasts and did not beat them in {q}
== contrast F corp about
* {c} <beats|misses> profit forecasts despite <a slump in|strong> sales of {goods}
*#S {c} shares <gain|drop> {move} even as the {adj} market <falls|rises> ;; = {c} beats on revenue but misses on profit
*#S {c} stock <up|down> {mv} although {broker} <cuts|raises> its target ;; >= Management called the picture mixed.
+ {c}'s {profit} rises to {cur} from {prev} although sales of {goods} fell ;; + despite {badn}, {c} posts record profit
+#S {c} shares rise {move} even as it cuts {n} jobs ;; -#S {c} shares slide {move} despite record profit
+ {c} lifts {y} outlook despite {badn}
- {c}'s {profit} falls to {cur} from {prev} in spite of higher sales ;; =#S {c} shares flat despite rise in {Q} {item1}
- although sales rose, {c} made a loss of {cur} in {q} ;; = {c}'s sales rise in {country} but fall as much in {country2}
== capex N works,util,build,telecom inverse about
* {c} now puts cost of {city} {site} at {cur}, compared with {prev} in the original plan
* {c} <overspends|underspends> on {city} {site} by {pct}: {cur} against budget of {prev}
* the bill for {c}'s {city} project <rises|falls> to {cur} from {prev} ;; + {c} wins {amtp} grant for its {city} {site}
* {c}'s {city} {site} to cost <more|less> than planned ;; = the investment is worth {amt} and will be completed in {y1}.
+ {c} finishes {city} {site} ahead of schedule and below budget ;; = {c} to decide in {month} on {amtp} {site} in {city}
- {c} abandons half-built {site} in {city}, losing {amt} ;; >- The company warned that costs could rise further.
- {c}'s {city} {site} delayed by {few} years ;; = {c} to invest {amt} in {site} in {city}
= the new line at {c}'s {site} in {city} is due to start up in {month} {y1}. ;; >+ It leaves more money to repay debt.
>= [The {site} will have a floor area of {area} square metres./The work takes about {few} years.]
== settlement L corp about
+ settlement with {nation} customers frees {c} from {amtp} claim
+@make {c} and {c2} settle patent dispute over {goods} ;; -@make {c} must pay {c2} {amt} for copying {goods}, jury finds
+ {c} ends {few}-year court fight with {union} over pensions ;; + {c} to receive {amt} from {c2} to end licence dispute
- settlement talks between {c} and {nation} customers break down
- judge throws out {c}'s settlement, reopening {amtp} claim ;; = customers have until {date} to join settlement with {c}
- {c} faces suit from {c2} after talks on licence fees fail ;; - {c} loses appeal against {amtp} damages for {offence}
= judge to hear {c}'s settlement with {nation} customers on {date}
=@make {c} and {c2} to resume talks on patent licence in {month}
= {c} and {c2} agree to name arbitrator in dispute over {goods}
>- [The company said it was disappointed./The case could drag on for years.] ;; >= Neither side commented.
>+ [Lawyers on both sides called it fair./The matter is closed.]
== strikes N works,airline,ship,telecom,miner about
+ {c} and {union} reach pay deal, averting strike ;; >= [Talks will be held in {city}./About {n} employees are covered.]
+ work resumes at {c}'s {city} {site} as strike ends ;; = pay agreement between {c} and {union} runs until {month} {y1}
+ {c} and staff settle {few}-month pay dispute ;; - {union} calls strike at {c}'s {city} {site}
+ {c} averts strike with last-minute offer ;; = {c} and {union} to begin pay talks on {day}
+ {union} calls off strike at {c}
- blockade by {union} brings {c}'s {city} {site} to standstill ;; = mediator invites {c} and {union} to meeting on {day}
- {union} rejects {c}'s pay offer and threatens walkout ;; >+ [Work goes on as usual./Customers were relieved.]
- strike at {c} enters {ord} week, {goods} held up ;; - workers at {c} begin {few}-day strike over pay
>- [Some {n} people have stopped work./Talks have broken off./Customers face delays.]
== recalls N car,food,tech
+@food tests clear {c} of {taint} in its {goods} ;; -@food {taint} in {c}'s {goods}: shops in {country} clear shelves
+@food {goods} from {c} back on shelves after all-clear ;; -@food {c} withdraws {goods} from shops after finding {taint}
+@car {c} resumes sales of {goods} after fixing {fault} fault ;; +@car,tech inquiry ends: {c} need not recall {goods}
-@car regulators order {c} to recall {goods} with {fault} fault ;; -@car {c} recalls {thou} {goods} over {fault} defect
-@tech {c} takes {goods} off sale because of {unfit} ;; =@car {c} lists models covered by last year's recall of {goods}
-@tech {c} tells owners to stop using {goods}, {thou} sold ;; >= The company gave the details on its website.
=@car,tech,food {c}'s hotline for owners of {goods} open until [16/18/20]:00 on weekdays
=@food {c} explains how customers can return {goods} bought in {month} ;; >+ Dealers said that demand had held up.
>- [The company apologised to customers./Sales have been stopped in {country}.]
== trials N pharma about
+ {c} ends {illness} trial early after {drug} proves effective ;; - {drug} no better than placebo in {illness}, {c} says
+ {c}'s {drug} meets main goal in late-stage {illness} trial ;; = {c} and {c2} to study {drug} together in {illness}
+ {drug} cuts symptoms of {illness} by {big} in {c} study ;; = results of {c}'s {illness} trial expected in {month} {y1}
+ {c}'s {drug} beats {c2}'s rival drug in {illness} study ;; = {c} starts mid-stage trial of {drug} in {illness}
- {c} halts trial of {drug} after patients fall ill ;; >- [Shares in the company fell./The company will study the data.]
- regulators put {c}'s {drug} study on hold over safety ;; = {c} to present {drug} data at congress in {city} in {month}
- {c}'s {drug} fails in late-stage {illness} trial ;; = {c} to enrol {n} patients in {illness} study
>= [The study is run in {country} and {country2}./The drug is taken once a day.]
>+ [The drug was well tolerated./The company plans to seek approval in {y1}.]
== outages N telecom,airline,bank,util about
+@bank payments at {c} work again after repair ;; -@bank customers of {c} locked out of accounts by computer failure
+@telecom {c} network fully restored in {home}, ahead of schedule
+ {c} restores service to all customers after {few}-hour outage
+@airline {c} flights back to normal after computer failure ;; +@util power back on for {thou} {c} customers after storm
-@telecom {c} network down in {home}, {thou} customers cut off ;; -@util storm leaves {thou} {c} customers without power
- cyberattack knocks out {c}'s website and payment systems ;; = {c} changes opening hours of its help desk from {month}
-@airline {c} grounds flights after booking system fails ;; - {c} loses data of {thou} customers in security breach
= {c} schedules maintenance of its systems for night of {date}
>+ [The company thanked customers for their patience./Engineers had worked through the night.]
>- [The company apologised to its customers./Engineers were still at work on {day}.]
>= [Service will not be interrupted./Customers need do nothing.]
== season E corp,bank
+ {nation} earnings season off to strong start as {few} in seven firms beat forecasts ;; >- Investors were disappointed.
+ profits of {nation} companies set to grow {fast} this season, more than expected ;; = {c} {Q} earnings call transcript
+ best earnings season in {few} years for {nation} companies ;; >+ [Margins held up better than feared./Banks did best.]
+ earnings season beats fears as {c} and {c2} top forecasts ;; - {c} delays {Q} results as auditors ask for more time
- worst earnings season in {few} years looms for {nation} companies ;; - analysts brace for weak {Q} results from {c}
- {nation} earnings season disappoints as profits fall {move} ;; = earnings calendar: {c}, {c2} and {c3} report on {day}
= {nation} earnings season starts on {day} with {c} ;; >= Investors will look at [margins/costs/the outlook for {y1}].
= {c} moves date of {Q} results to {date} ;; = what to watch in {c}'s {Q} results
"""
ABOUT = """{c}, based in {home}, employs about {staff} people.|The {adj} {noun} has {sites} in {k} countries.|\
{c} is a(n) {adj} {noun} known for its {goods}.""".split("|")


@dataclass
class _Template:
    kind: str
    sign: str
    topic: str
    pool: list[Company]
    inverse: bool
    about: bool
    text: str
    bodies: dict[str, list[str]]


def _parse() -> Iterator[_Template]:
    for block in _GRAMMARS.split("\n== ")[1:]:
        first, *parts = block.strip().replace(" ;; ", "\n").splitlines()
        kind, topic, pool, *flags = first.split()
        bodies: dict[str, list[str]] = {sign: [] for sign in "+-="}
        for head, text in (part.split(" ", 1) for part in parts):
            if head[0] == ">":
                bodies[head[1]].append(text)
            else:
                match = re.fullmatch(r"([-+=~*])(?:#(\w))?(?:@([\w,]+))?", head)
                assert match, head
                own, companies = TOPICS[match[2] or topic], _pool(match[3] or pool)
                about = "about" in flags and ("{c}" in text or topic == "F")
                yield _Template(kind, match[1], own, companies, "inverse" in flags, about, text, bodies)


_KINDS: dict[str, list[_Template]] = {}
for _template in _parse():
    _KINDS.setdefault(_template.kind, []).append(_template)


def _article(match: re.Match[str]) -> str:
    word = match[2].lstrip("€$£¥₹")
    vowel = re.match(r"8|11(?!\d)|18(?!\d)|[AEFHILMNORSX][A-Z]+\b(?!\$)|[aeiouAEIOU]|Rs?\d", word)
    sounded = re.match(r"[Uu]ni|[Ee]u|EUR|USD|US\b|SEK|MXN|NOK|one", word)
    return f"{match[1]}{'n' if vowel and not sounded else ''} {match[2]}"


def _render(pattern: str, slots: _Slots) -> str:
    """One text: alternatives chosen, slots filled, grammar mended."""
    text = re.sub(r"<([^<|>]*)\|([^<|>]*)>", lambda m: m[1] if slots.up > 0 else m[2], pattern)
    text = re.sub(r"\[([^\]]*)\]", lambda m: slots.rng.choice(m[1].split("/")), text)
    text = re.sub(r"\b([Aa])\(n\) (\S+)", _article, text.format_map(slots)).replace("s's ", "s' ")
    return re.sub(r"(^|[.!?] )([a-z])", lambda m: m[1] + m[2].upper(), text)


def capitals(match: re.Match[str]) -> str:
    small = "a an and as at but by for in of on or the to vs per mn bn pct percent cent crore".split()
    return "-".join(part if part in small else part[:1].upper() + part[1:] for part in match[0].split("-"))


def _dress(title: str, slots: _Slots, about: bool) -> str:
    """The dress of the wires: mostly sentence case, else title case, capitals or a tweet."""
    chance, bare = slots.rng.random(), title.rstrip(".")
    if "$" + slots["tick"] in title or len(title) > 110:
        return title
    if chance < 0.06:
        return slots.rng.choice(["", "", "*", "BREAKING: "]) + bare.removeprefix("BREAKING: ").upper()
    if chance < 0.25 and bare == title:
        return re.sub(r"(?<![^ ])[a-z][^ ]*", capitals, title)
    if chance < 0.33 and about and slots["c"] in title:
        return slots.rng.choice([f"${slots['tick']} - {bare}", f"{bare} ${slots['tick']}", f"${slots['tick']}: {bare}"])
    return title


def _row(template: _Template, rng: random.Random) -> Row:
    sign = rng.choice("+-") if template.sign == "*" else template.sign
    up = rng.choice([1, -1]) if sign == "~" else {"+": 1, "-": -1, "=": 0}[sign] * (-1 if template.inverse else 1)
    slots = _Slots(rng, template, up, sign)
    title = _render(template.text, slots)
    bodies = template.bodies[sign.replace("~", "=")] + [rng.choice(ABOUT)] * template.about
    body = _render(rng.choice(bodies), slots) if bodies and rng.random() < _BODY_SHARE else None
    title = _dress(title, slots, template.about)
    return Row(title=title, body=body, topic=template.topic, sentiment=_SENTIMENTS[sign], kind=template.kind)


def generate(count: int, seed: int) -> list[Row]:
    """Rows without duplicates, spread evenly over the kinds, then over the templates of each kind."""
    rng = random.Random(seed)
    decks: dict[str, list[_Template]] = {kind: [] for kind in _KINDS}
    seen: set[str] = set()
    rows: list[Row] = []
    while len(rows) < count:
        before = len(rows)
        for kind in rng.sample(list(_KINDS), len(_KINDS))[: count - len(rows)]:
            for attempt in range(60):
                if attempt % 10 == 0:
                    decks[kind] = decks[kind] or rng.sample(_KINDS[kind], len(_KINDS[kind]))
                    template = decks[kind].pop()
                row = _row(template, rng)
                mark = normalised(row["title"])
                if mark not in seen:
                    seen.add(mark)
                    rows.append(row)
                    break
        if len(rows) == before:
            raise ValueError(f"there are no {count} different texts")
    return rows


if __name__ == "__main__":
    for _row_made in generate(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(_row_made, ensure_ascii=False))
