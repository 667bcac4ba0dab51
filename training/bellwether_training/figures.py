"""Labelled financial texts whose direction lies in their figures alone: topic and sentiment by training/LABELS.md.

Every directional text is made twice, with the same words and its figures exchanged, so that no word tells the label.
All figures are invented, whoever is named.
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from . import prepare
from .grammar import (
    COMPANIES,
    COUNTRIES,
    INDICES,
    LISTS,
    METALS,
    TOPICS,
    Company,
    Row,
    capitals,
    table,
)
from .text import passage

_EQUAL_SHARE = 0.2  # of the pairs that have a third text with two equal figures
_BODY_SHARE = 0.25

# Invented names: a stem with a tail of the sector.
_STEMS = """Aldermere, Bexholm, Corvana, Dunmarrow, Estrada, Fennimore, Galloway Bay, Hollander, Ismara, Jorvik, Kestutis, Lorimar,
Mirefield, Novara, Oakhaven, Pemberly, Quarrystone, Ravello, Silvane, Torrance Hill, Ulmera, Vexford, Westerholm, Yarrow, Zelinka,
Amberline, Brackwater, Castermere, Drumlin, Eastvale, Farrow, Grisholm, Harcastle, Ilmen, Karsten, Lowbridge, Marchmont, Nimbera,
Ostrava River, Polaris Peak""".replace("\n", " ").split(", ")
_TAILS = {row[0]: row[1].split(", ") for row in table("""bank|Bank, Savings, Bancorp ; insurer|Insurance, Mutual, Re ;
machine|Machinery, Valves, Robotics ; car|Motors, Vans ; pharma|Pharma, Biologics ; tech|Devices, Sensors ;
chip|Semiconductor, Microchips ; soft|Systems, Cloud, Analytics ; telecom|Mobile, Networks ; retail|Stores, Outlets,
Fashion ; food|Foods, Breweries, Dairies ; airline|Airways, Air ; oil|Petroleum, Energy ; util|Power, Water, Gas ;
miner|Mining, Minerals, Gold ; steel|Steel ; chem|Chemicals, Coatings ; build|Construction, Homes ; prop|Properties,
REIT ; media|Media, Studios, Games ; ship|Logistics, Shipping, Freight ; paper|Paper, Packaging ; defence|Aerospace""")}
# currency|ways to write an amount|units to about one dollar
_MONEY = {row[0]: (row[1].split(","), float(row[2])) for row in table("""USD|$#,$#,USD #,# dollars|1 ; EUR|€#,€#,EUR #,# euros|1 ;
GBP|£#,GBP #,# pounds|1 ; JPY|¥#,# yen|100 ; KRW|# won,KRW #|1000 ; INR|Rs # crore,₹# crore|8 ; CNY|# yuan,CNY #|7 ;
TWD|NT$#,TWD #|30 ; HKD|HK$#,HKD #|8 ; SGD|S$#,SGD #|1 ; AUD|A$#,AUD #|1 ; NZD|NZ$#,NZD #|1 ; CAD|C$#,CAD #|1 ; ZAR|# rand,ZAR #|18 ;
BRL|R$#,BRL #|5 ; MXN|# pesos,MXN #|17 ; NOK|NOK #,# kroner|10 ; SEK|SEK #,# kronor|10 ; DKK|DKK #|7 ; CHF|CHF #|1 ; PLN|PLN #,# zlotys|4 ;
TRY|TRY #,# lira|30 ; AED|AED #,# dirhams|4 ; SAR|SAR #,# riyals|4""")}
_ONE_SHARE = {"USD": ["$#", "$#", "#", "#c", "# cents"], "EUR": ["€#", "EUR #", "# euros"], "GBP": ["£#", "#p", "# pence"], "INR": ["Rs #", "₹#"]}
_SECTOR_GROUPS = {
    "any": ",".join(_TAILS), "fin": "bank,insurer", "make": "machine,car,pharma,tech,chip,food,steel,chem,paper,defence",
    "sell": "soft,telecom,retail,airline,media,food", "dig": "oil,miner", "bill": "telecom,media,soft,util",
}  # fmt: skip

# names|+ where more is good, - where less is, s after it for a plural, o for what no analyst forecasts|unit|lowest|highest|who
# Money in millions of dollars or as much in another currency, pct and signed in percent, share in dollars.
_COMPANY = """revenue, turnover, sales revenue, group revenue|+|money|30|60000|any ; net sales|+s|money|30|60000|make,sell ;
net income, net profit, operating profit, pretax profit, EBITDA, adjusted EBIT, operating income|+|money|4|9000|any ; gross profit,
free cash flow, operating cash flow|+|money|6|7000|make,sell,dig ; order intake|+|money|20|12000|machine,defence,build,tech,chip ;
orders received, new orders|+s|money|20|12000|machine,defence,build,steel ; net interest income, fee income|+|money|20|9000|bank ;
customer deposits|+s|money|400|300000|bank ; gross written premiums|+s|money|40|30000|insurer ;
EPS, adjusted EPS, diluted EPS, core EPS|+|share|0.05|6|any ; earnings per share|+s|share|0.05|6|any ;
operating margin, EBIT margin, EBITDA margin|+|pct|2|29|make,sell,bill ; gross margin|+|pct|18|68|make,retail ;
return on equity|+|pct|3|19|fin ; net interest margin|+|pct|0.9|4.9|bank ; CET1 ratio|+|pct|9|19|bank ; solvency ratio|+|pct|120|270|insurer ;
like-for-like growth, same-store sales growth, organic growth|+|signed|-6|9|retail,food,sell ; load factor|+|pct|62|93|airline ;
occupancy, occupancy rate|+|pct|70|99|prop ; capacity use|+|pct|52|97|make ; deliveries|+s|count|90|900000|car,defence,machine ;
unit sales|+s|count|900|4000000|car,tech,chip ; unit shipments|+s|count|2000|9000000|tech,chip ;
paying users, paid subscribers, customer numbers|+s|count|40000|90000000|bill ; passenger numbers|+s|count|90000|30000000|airline ;
ore output, mined tonnage|+|tonnes|6000|900000|miner ; oil output|+|barrels|8000|900000|oil ; crude steel output|+|tonnes|90000|9000000|steel ;
container volume, parcel volume|+|count|20000|9000000|ship ; homes sold|+s|count|60|9000|build ; net inflows|+s|money|20|9000|bank,insurer ;
net loss, operating loss, pretax loss, loss before tax|-|money|2|3000|any ; cash burn|-|money|4|900|pharma,soft,car,tech ;
net debt, net borrowings|-|money|30|40000|make,sell,dig,util,prop ; credit impairments, loan-loss charges, bad-debt provisions|-s|money|4|4000|bank ;
writedowns|-s|money|4|4000|any ; net debt to EBITDA, leverage ratio|-|times|0.8|7|make,util,prop,telecom ; cost/income ratio,
cost-to-income ratio|-|pct|36|88|bank ; bad-loan ratio, NPL ratio, soured-loan ratio,
problem-loan ratio|-|pct|0.6|13|bank ; mortgage arrears rate|-o|pct|0.5|8|bank ;
combined ratio|-|pct|84|113|insurer ; expense ratio|-|pct|22|41|insurer ; monthly churn, churn,
customer churn|-o|pct|0.6|12|bill ; staff turnover|-o|pct|4|29|sell,bank ;
vacancy rate, vacancy|-o|pct|1.5|24|prop ; scrap rate,
reject rate|-o|pct|0.3|9|make ; cancellation rate|-o|pct|0.6|19|airline,build ; open customer complaints|-so|count|90|90000|bank,bill,airline ;
overdue orders|-so|count|30|9000|machine,tech,defence ; unsold vehicles|-so|count|900|300000|car ;
workplace accidents|-so|count|6|900|make,dig,build ; delayed flights|-so|count|60|9000|airline ; warranty claims|-so|count|80|60000|car,machine,tech"""
_OUTLOOK = """revenue, turnover|+|money|30|60000|any ; operating profit, EBITDA, net income, adjusted EBIT|+|money|10|9000|any ;
EPS, adjusted EPS|+|share|0.3|8|any ; operating margin, EBIT margin|+|pct|2|29|make,sell,bill ; organic growth,
like-for-like growth|+|signed|-3|9|retail,food,sell ;
free cash flow|+|money|10|7000|make,sell,dig ; unit sales, deliveries|+s|count|900|4000000|car ; oil output|+|barrels|8000|900000|oil ;
cost/income ratio|-|pct|36|78|bank ; combined ratio|-|pct|84|108|insurer ; net debt|-|money|30|40000|make,util ;
credit impairments|-s|money|4|4000|bank ;
pretax loss, net loss|-|money|2|3000|pharma,soft,car"""
_LAND = """GDP growth, economic growth|+|signed|-1.5|6|land ; retail sales m/m, industrial output m/m, factory orders m/m, household spending m/m,
construction output m/m|+|signed|-3|3|land ;
export growth|+|signed|-8|14|land ; manufacturing PMI, services PMI, composite PMI, factory PMI, construction PMI|+|index|42|59|land ;
consumer confidence, business climate index, investor sentiment index|+|index|78|116|land ; payrolls, job creation,
employment change|+|thousand|15|480|land ;
housing starts, building permits, new-car registrations|+s|count|9000|900000|land ; trade surplus, current-account surplus,
budget surplus|+|money|900|90000|land ;
job vacancies|+s|count|20000|900000|land ; capacity use in industry|+|pct|68|88|land ; tourist arrivals|+s|count|90000|9000000|land ;
unemployment, jobless rate, unemployment rate|-|pct|2.4|14|land ; youth unemployment|-|pct|7|38|land ; jobless claims,
first-time jobless claims|-s|count|20000|420000|land ;
CPI inflation, annual inflation, headline CPI, core inflation, core CPI, producer price inflation, food inflation, services inflation,
rent inflation|-|pct|0.8|12.9|land ;
budget deficit, fiscal gap|-|money|900|90000|land ; public debt to GDP|-|pct|32|148|land ; trade deficit,
current-account deficit|-|money|900|60000|land ;
company insolvencies, bankruptcies, personal insolvencies|-s|count|90|40000|land ; home repossessions|-s|count|90|9000|land ;
mortgage arrears rate, card delinquency rate, bad-loan ratio of banks|-|pct|0.6|11|land ; #T corporate default rate, high-yield default rate,
junk bond default rate|-|pct|0.9|12|land ;
announced job cuts|-s|count|900|200000|land"""


@dataclass(frozen=True)
class _Metric:
    names: list[str]
    topic: str
    good: bool
    plural: bool
    forecast: bool
    unit: str
    low: float
    high: float
    who: frozenset[str]


def _metrics(text: str, topic: str) -> list[_Metric]:
    made = []
    for names, sign, unit, low, high, who in table(text):
        own = names[1] if names.startswith("#") else topic
        sectors = frozenset(sector for group in who.split(",") for sector in _SECTOR_GROUPS.get(group, group).split(","))
        listed = names.removeprefix(f"#{own} ").strip().split(", ")
        made.append(_Metric(listed, TOPICS[own], sign[0] == "+", "s" in sign, "o" not in sign, unit, float(low), float(high), sectors))
    return made


_METRICS = {"company": _metrics(_COMPANY, "F"), "outlook": _metrics(_OUTLOOK, "F"), "land": _metrics(_LAND, "X")}

# A section opens with "== kind metrics weight". A template names the newer figure {new}, what it is measured by {old};
# "^" before it: not with equal figures; "@name,name" or "@unit": for these metrics alone; " // " parts title and body.
# Neutral texts and those with more than two figures have slots of their own.
_TEMPLATES = """
== year company 17
{c} {Q} {m} {new} vs year-earlier {old}
{c}'s {m} for {q} {was} {new}; in the same period of {y0} {it} {was} {old}.
{Q} {m} at {c}: {new} ({y0}: {old})
^{m} at {c} went from {old} in {y0} to {new} in {y}
^from {old} to {new} in twelve months: {m} at {c}
^after {am} of {old} in {y0}, {c} reports {new} for {y}
{c} {m}: {old} in {y0}, {new} in {y}
where {c} had {am} of {old} in {q} of {y0}, the new report shows {new}
${tick} {Q} {m} {new} v {old} y/y
{c} {y} {m}: {new}, prior year {old}
{c} puts {Q} {m} at {new}, after {old} in {q} of {y0}
a year ago {c} had {am} of {old}; this time {it} {was} {new}.
{c} {Q} report: {m} {new} ({old})
{c} {Q}: {m} {new} / prior-year quarter {old}
{m} at {c} came to {new} in {q} (previous year: {old}).
compared with {old} twelve months before, {m} of {c} {was} {new} at the last count
{m} of {c}, {y0} and {y}: {old}, {new}
{c} reports // {m} {was} {new} in {q}, compared with {old} in {q} of {y0}.
{c} {Q} figures // the company had {am} of {new}. a year earlier {it} had been {old}.
{c} publishes {y} accounts // in the year before, {m} {was} {old}. the new accounts show {new}.
== previous company 11
{c} {m}: {Q1} {old}, {Q2} {new}
{c} {Q2} {m} {new}, {Q1} {old}
{c}'s {m} {was} {old} in {q1} and {new} in {q2}.
{m} at {c} {new} in {Q2}, three months earlier {old}
{c} monthly figures: {m} {new} in {month}, {old} in {month0}
{c} in {month}: {m} {new} (in {month0}: {old})
^sequential view of {c}: {m} to {new} in {Q2} from {old} in {Q1}
{m} at {c} in {month} {was} {new}. the month before {it} {was} {old}.
${tick} {m} {Q2} {new}, prior {old}
{c}: prior-quarter {m} {old}, latest {new}
the {Q1} report of {c} had {m} at {old}; the {Q2} report at {new}
{Q2} vs {Q1} at {c}: {m} {new} vs {old}
last time {old}, now {new}: {m} at {c}
{c} trading update // {m} {was} {new} in {q2} after {old} in {q1}.
== estimate company 17
{c} {Q} {m} {new}, est. {old}
${tick} {Q} {m}: {new} (est. {old})
${tick} {c} {Q} {m} {new} vs {old} est
{c} {Q} {m} {new}; Street was at {old}
with the Street at {old}, {c} posts {Q} {m} of {new}
consensus for {c}'s {Q} {m} was {old}, the actual figure is {new}
{c} {Q} {m} {new} (exp. {old})
analysts polled before the report looked for {c} {m} of {old}; the company printed {new}.
est {old}, actual {new}: ${tick} {Q} {m}
{c} had itself guided to {Q} {m} of {old} and now reports {new}
{c} {Q} {m} {new}, company guidance was {old}
{m} of {new} at {c} in {q}, where {broker} had pencilled in {old}
{c} {Q} {m} {new} compared to market view of {old}
{c} - {Q} {m} actual {new} / consensus {old}
@EPS,adjusted EPS,earnings per share {c} earned {new} a share in {q}; the mean of {k} estimates was {old}
{c} {Q} {m} {new}, {broker} saw {old}
{k} analysts had on average put {c}'s {Q} {m} at {old}. {it} {was} {new}.
{c}'s {m} for {q}: {new}. mean forecast in a survey: {old}.
the bar for {c} in {q} was {am} of {old}, the outcome {new}
{c} {Q} results // {m} {was} {new}. analysts surveyed by {broker} had expected {old}.
{c} {Q} results out // consensus for {m} had been {old}; the report has {new}.
== outlook outlook 8
{c} sees {y} {m} at {new}, prior view {old}
{c} {y} {m} outlook {new}, market view {old}
{c} guides {y} {m} {new} vs consensus {old}
{c} now guides for {y} {m} of {new} (earlier: {old})
^{c} {y} {m} forecast goes to {new} from {old}
{c}'s {y} target for {m} is {new}; in {month} it was {old}
having spoken of {old} in {month}, {c} now plans with {y} {m} of {new}
${tick} FY {m} guide {new}, Street {old}
while analysts have {c} at {y} {m} of {old}, its own forecast is {new}
{c} {y1} plan: {m} {new}. old plan: {old}.
the board of {c} expects {am} of {new} for {y1}, where {y} brought {old}
@money {c} FY {m} now seen {new} to {new2}, before {old} to {old2}
@money {c} {y} {m} range {new}-{new2}, earlier range {old}-{old2}
@money {c} had a range of {old} to {old2} for {y} {m}; the new one is {new} to {new2}
== forecast land 15
{adj} {m} {new} in {month} (exp. {old})
{land} {month} {m} {new} vs {old} f'cast
{land}: {m} {new}, consensus {old}
{m} in {inland} printed {new} for {month}, survey median {old}
{adj} {month} {m} {new}; est. {old}
{old} was the forecast for {adj} {m}, {new} is the figure
analysts' median for {adj} {m} in {month} was {old}. actual: {new}.
actual {new}, expected {old}: {adj} {m} for {month}
the statistics office puts {month} {m} in {inland} at {new}, where the market looked for {old}
{adj} {m} is out: {new} against a poll of {old}
in {inland}, {m} for {month} {was} {new}; {broker} had predicted {old}.
with a consensus of {old}, {adj} {m} for {month} {was} {new}
JUST IN: {land} {m} {new}, est {old}
@unemployment,CPI inflation,GDP growth {adj} budget plans assumed {m} of {old}; the year ended with {new}
{month} {m}, {land}: forecast {old} / actual {new}
{adj} data for {month} // {m} {was} {new}; the median of {k} forecasts had been {old}.
== prior land 13
{adj} {m} {new} in {month}, {month0} {old}
{land} {m}: {month0} {old}, {month} {new}
{m} in {inland}, {month}: {new} (prior {old})
^{adj} {m} {goes} from {old} to {new} within a month
{adj} {m} {new} in {Q2} after {old} in {Q1}
in {month} {inland} had {am} of {new}; a year earlier {it} {was} {old}.
{land} {month} {m} {new}, previous {old}
where {month0} brought {adj} {m} of {old}, {month} brought {new}
@pct {m} of {new} in {inland} for {y}, of {old} for {y0}
first estimate of {adj} {m} was {old}, the revised one is {new}
{adj} {m}: a year ago {old}, today {new}
latest {adj} {m} {new}, last month's {old}
@company insolvencies,new-car registrations,home repossessions,tourist arrivals,announced job cuts {m} in {inland}, {y}: {new}; {y0}: {old}
{adj} {m} last stood at {old} and now at {new}
statistics from {inland} // {m} {was} {new} in {month}. {month0}: {old}.
== quote quote 6
#S {c} last {price:new}, previous close {price:old}
#S {c} stock: {day} {price:old}, {day2} {price:new}
#S ${tick} {price:new} pre-market, closed at {price:old}
#S a {c} share costs {price:new}; a month ago the price was {price:old}.
#K {ix} {level:new} at the bell, a week ago {level:old}
#K {ix} closes {day2} on {level:new} after {level:old} on {day}
#K opening {level:old}, close {level:new}: the {ix} on {day}
#A {broker} target for {c} is {price:new}, before {price:old}
#A {broker} has {c} at {price:new} a share, at {price:old} in {month}
#D {c} dividend for {y}: {eps:new} a share; for {y0}: {eps:old}
#D {c} interim payout {eps:new} per share (last time {eps:old})
#D holders of {c} get {eps:new} a share for {y}, having got {eps:old} for {y0}
#G {metal} {ounce:new}, a month ago {ounce:old}
#G {metal} fix {ounce:new} on {day2}, {ounce:old} on {day}
#M {buyer} bid for {c} now {price:new} a share, was {price:old}
#I {c} sets IPO price at {price:new}, midpoint of the range was {price:old}
#L {c} settles {adj} suit for {bill:new}; it had set aside {bill:old}
#N {c} puts cost of {home} site at {bill:new}, budget {bill:old}
== swing swing 14
{c} {Q}: {result:new} after {result:old} a year earlier
{c} {Q} net result {signed:new}, year ago {signed:old}
{c}'s pretax result for {q} was {signed:new}, for {q} of {y0} {signed:old}.
at {c}, a {result:old} in {y0} was followed by a {result:new} in {y}
where {c} had a {result:old} in {q} of {y0}, there is now a {result:new}
{c} reports {result:new} for {q} (previous year: {result:old})
{c} {Q} operating result {signed:new} (exp. {signed:old})
${tick} {Q} EPS {eps:new} vs {eps:old} est
${tick} {Q} EPS {eps:new}, year-ago EPS {eps:old}
analysts had seen a {result:old} at {c} in {q}; it is a {result:new}
{c} {y}: {result:new}, {y0}: {result:old}
from a {result:old} to a {result:new}: {c} in {y0} and {y}
{c} EBIT {signed:old} in {Q1}, {signed:new} in {Q2}
{c} free cash flow {signed:new}, prior year {signed:old}
{c} expects a {result:new} for {y1}, compared with a {result:old} in {y}
{c} presents accounts // the year {y} ended with a {result:new}; {y0} had ended with a {result:old}.
== double double 6
{c} {Q} EPS {eps:new} vs {eps:old} est, revenue {money:new2} vs {money:old2} est
${tick} {Q}: EPS {eps:new} (est. {eps:old}); rev. {money:new2} (est. {money:old2})
{c} {Q} revenue {money:new} (year ago {money:old}), net income {money:new2} (year ago {money:old2})
{c}: turnover {money:new}, prior year {money:old}; EBITDA {money:new2}, prior year {money:old2}
{c} {Q}: consensus revenue {money:old}, actual {money:new}; consensus EBIT {money:old2}, actual {money:new2}
#X {adj} PMIs for {month}: manufacturing {pmi:new} (exp. {pmi:old}), services {pmi:new2} (exp. {pmi:old2})
#X {land} {month} PMI: factories {pmi:new}, prior {pmi:old}; services {pmi:new2}, prior {pmi:old2}
"""
# No comparison of like with like: neutral whatever the figures.
_ALONE = """#F {c} {Q} {m} {new}
#F {c}'s {m} for {q} {was} {new}.
#F {c} {Q}: revenue {money:new}, net income {money:new2}
#F {c} had {staff} staff and {m} of {new} in {y}
#F {Q} {m}: {c} {new}, {c2} {old}
#F {c} booked revenue of {money:new} in {inland} in {y}
#F {c} expects {y1} capital spending of {money:new}
#E {c} reports on {day}; consensus {Q} EPS {eps:new}, revenue {money:new2}
#E consensus for ${tick} {Q}: EPS {eps:new}, rev {money:new2}
#E what to look for in {c}'s {Q} report: EPS est. {eps:new}, revenue est. {money:new2}
#X {adj} {ind} for {month} due on {day}, forecast {pct:new}
#X {ind} in {month}: {land} {pct:new}, {land2} {pct:old}
#X {land} {month} {ind} {pct:new}
#K {ix} at {level:new} at midday
#G {metal} fix on {day}: {ounce:new}
#F {c} {y}: EPS {eps:new}, {k} percent of sales from {land2}
#D {c} dividend of {price:new} a share to be paid on {day}
#F {c} to publish {m} for {q} on {day}; {y0} figure {old}
#S {c} closes at {price:new}""".splitlines()
_BODIES = """The figures have not been audited.|Details will follow in the full report.|The data were published on {day}.|\
A call for investors begins at {hour}:00 on {day}.|The next figures are due in {month2}.|The report has {k} pages of notes.|\
The report was released before the market opened on {day}.|A breakdown by region was not given.""".split("|")
_LAND_BODIES = """The data were published on {day}.|The next figures are due in {month2}.|The figures are adjusted for the season.|\
A breakdown by region follows on {day}.|The office surveys {staff} firms and households.""".split("|")

_Write = Callable[[float, bool], str]
_Figures = dict[str, float]


@dataclass(frozen=True)
class _Scale:
    """How figures of one text are rounded and written; bare leaves out the currency."""

    low: float
    high: float
    rounded: Callable[[float], float]
    write: _Write


def _digits(value: float, figures: int) -> int:
    """Decimals that show a value in so many significant figures."""
    return max(0, figures - 1 - math.floor(math.log10(abs(value)))) if value else 0


def _money(rng: random.Random, currency: str, low: float, high: float) -> _Scale:
    """Amounts in millions, or in crore; those from a thousand millions on are written in billions."""
    forms, factor = _MONEY[currency]
    form, figures = rng.choice(forms), rng.choice([2, 3, 3])
    small, large, huge = rng.choice(["m,bn,tn", "m,bn,tn", " million, billion, trillion", " mn, bn, tn", "M,B,T"]).split(",")
    if small == "M" and form[0] not in "$€£":
        small, large, huge = "m", "bn", "tn"

    def rounded(value: float) -> float:
        unit = 10.0 ** (math.floor(math.log10(value)) - figures + 1)
        return round(value / unit) * unit

    def write(value: float, bare: bool) -> str:
        scale, word = (1.0, "") if "crore" in form else (1e6, huge) if value > 999_999 else (1e3, large) if value > 999.9 else (1.0, small)
        number = f"{value / scale:,.{_digits(value / scale * 1.000001, figures)}f}{word}"
        return number + " crore" * ("crore" in form) if bare else form.replace("#", number)

    return _Scale(low * factor, high * factor, rounded, write)


def _share(rng: random.Random, currency: str, low: float, high: float) -> _Scale:
    """Amounts to one share, in the currency or its hundredth."""
    forms = _ONE_SHARE.get(currency) or [one for one in _MONEY[currency][0] if "crore" not in one]
    form, factor = rng.choice(forms), {"JPY": 60, "KRW": 600, "INR": 12}.get(currency, 1)
    cents = form in ("#c", "# cents", "#p", "# pence")

    def write(value: float, bare: bool) -> str:
        size = abs(value)
        if cents and size < 1:
            return "-" * (value < 0) + form.replace("#", f"{size * 100:.0f}")
        return "-" * (value < 0) + (form if not cents else "£#" if currency == "GBP" else "$#").replace("#", f"{size:,.{0 if size >= 1000 else 2}f}")

    return _Scale(low * factor, high * factor, lambda value: round(value, 0 if high * factor >= 1000 else 2), write)


def _count(rng: random.Random, low: float, high: float, unit: str) -> _Scale:
    millions, figures = rng.choice([" million", "m", " mn"]), rng.choice([2, 3, 3, 4])

    def rounded(value: float) -> float:
        unit = 10.0 ** max(0, math.floor(math.log10(value)) - figures + 1)
        return round(value / unit) * unit

    def write(value: float, bare: bool) -> str:
        if unit == "" and value >= 1e6:
            return f"{value / 1e6:.{_digits(value / 1e6, figures)}f}{millions}"
        return f"{value:,.0f}{'' if bare else unit}"

    return _Scale(low, high, rounded, write)


def _scale(rng: random.Random, unit: str, currency: str, low: float, high: float) -> _Scale:
    if unit == "money":
        return _money(rng, currency, low, high)
    if unit == "share":
        return _share(rng, currency, low, high)
    if unit in ("count", "tonnes", "barrels"):
        return _count(rng, low, high, {"count": "", "tonnes": " tonnes", "barrels": " barrels a day"}[unit])
    digits, sign = rng.choice([1, 1, 1, 2] if unit == "pct" and high < 14 else [1]), unit == "signed" and rng.random() < 0.4
    percent = rng.choice(["%", "%", "%", "%", " percent", " per cent", " pct"])
    tail = {"pct": percent, "signed": percent, "index": "", "thousand": rng.choice(["k", ",000"]), "times": rng.choice(["x", " times"])}[unit]
    digits = 0 if unit == "thousand" else digits
    return _Scale(low, high, lambda value: round(value, digits) + 0.0, lambda value, bare: f"{value:{'+' * sign}.{digits}f}{tail}")


def _two(rng: random.Random, scale: _Scale, spread: float = 1.0) -> tuple[float, float]:
    """A higher and a lower figure that differ as they are written; some on either side of a power of ten."""
    while True:
        low, high = scale.low, scale.high
        tens = [10.0**power for power in range(-2, 9) if low * 1.3 < 10.0**power < high / 1.5]
        if low < 0 or high / low < 3:
            base, step = rng.uniform(low, high), (high - low) * rng.choice([0.02, 0.05, 0.12, 0.3]) * rng.uniform(0.3, 1) * spread
            one, other = base + step, base
        elif tens and rng.random() < 0.3 * spread:
            ten = rng.choice(tens)
            one, other = ten * rng.uniform(1.0, 1.45), ten * rng.uniform(0.7, 0.995)
        else:
            base = low * (high / low) ** rng.random()
            one, other = base * (1 + rng.choice([0.05, 0.15, 0.4, 1.2]) * rng.uniform(0.25, 1) * spread), base
        one, other = scale.rounded(one), scale.rounded(other)
        if scale.write(one, False) != scale.write(other, False) and one > other and one <= high * 1.2:
            return one, other


def _company(rng: random.Random, sectors: frozenset[str]) -> Company:
    """One of the grammar's companies, or as often one with an invented name."""
    sector = rng.choice(sorted(sectors))
    known = [one for one in COMPANIES if one.sector == sector]
    if known and rng.random() < 0.5:
        return rng.choice(known)
    return Company(f"{rng.choice(_STEMS)} {rng.choice(_TAILS[sector])}", rng.choice(list(COUNTRIES)), sector, True)


def _ticker(name: str) -> str:
    letters = re.sub(r"[^A-Z]", "", name.upper())
    return letters if len(letters) < 5 else letters[0] + (re.sub("[AEIOU]", "", letters[1:]) + "X")[:3]


def _words(rng: random.Random, company: Company, metric: _Metric | None) -> dict[str, str]:
    """What a text says beside its figures."""
    land, adjective, _, cities = COUNTRIES[company.country]
    other = rng.choice([one for one in COUNTRIES.values() if one[0] != land])
    number, at, year = rng.randint(2, 4), rng.randrange(1, 12), rng.randint(2009, 2025)
    ordinals, months = ["first", "second", "third", "fourth"], LISTS["month"]
    first, second, third = rng.randrange(4), rng.randint(1, 4), rng.randrange(5)
    named = f"the {ordinals[number - 1]} quarter"
    others = [("H1", "the first half"), (named[4:], named), ("9M", "the first nine months"), ("Q1", "January-March")]
    period = rng.choice([(f"Q{number}", named)] * 3 + others)
    rivals = [one.name for one in COMPANIES if one.sector == company.sector and one.name != company.name]
    words = dict(
        c=company.name, tick=_ticker(company.name), c2=rng.choice(rivals), land=land.removeprefix("the "),
        inland=land, adj=adjective, land2=other[0].removeprefix("the "), home=rng.choice(cities.split(", ")),
        Q=period[0], q=period[1], Q2=f"Q{number}", Q1=f"Q{number - 1}", q2=named, q1=f"the {ordinals[number - 2]}",
        month=months[at], month0=months[at - 1], month2=months[(at + 2) % 12], y=str(year), y0=str(year - 1),
        y1=str(year + 1), day=LISTS["day"][first], day2=LISTS["day"][min(first + second, 4)],
        hour=str(rng.randint(8, 17)), k=str(rng.randint(6, 28)), staff=f"{rng.randrange(900, 60000, 100):,}",
        broker=rng.choice(LISTS["broker"]), buyer=rng.choice(LISTS["buyer"]),
        ind=["CPI inflation", "unemployment", "core inflation", "jobless rate", "food inflation"][third],
    )  # fmt: skip
    if metric:
        was, it, goes = ("were", "they", "go") if metric.plural else ("was", "it", "goes")
        words |= dict(m=rng.choice(metric.names), was=was, it=it, goes=goes)
        countable = re.search("(rate|ratio|margin|gap|deficit|surplus|loss|profit|index)$", words["m"])
        vowel = re.match("[aeiou]|[AEFHILMNORSX][A-Z]{2}", words["m"]) if not words["m"].startswith("unit") else None
        words["am"] = ("an " if vowel else "a ") * bool(countable) + words["m"]
    return words


@dataclass(frozen=True)
class _Template:
    kind: str
    topic: str | None
    text: str
    metrics: list[_Metric]
    equal: bool

    @property
    def units(self) -> list[str]:
        return re.findall(r"{(\w+):", self.text)


def _parse() -> Iterator[tuple[_Template, int]]:
    """Templates with the weights of their kinds."""
    for block in _TEMPLATES.split("\n== ")[1:]:
        first, *lines = block.strip().splitlines()
        kind, table_name, weight = first.split()
        for line in lines:
            match = re.fullmatch(r"(\^)?(?:#(\w) )?(?:@((?:[^{}]*?)) (?={))?(.*)", line)
            assert match, line
            wanted = set((match[3] or "").split(",")) - {""}
            metrics = [
                replace(one, names=sorted(wanted & set(one.names)) or one.names)
                for one in _METRICS.get(table_name, [])
                if (not wanted or one.unit in wanted or wanted & set(one.names))
                and (one.forecast or kind != "estimate")
                and not (one.unit == "count" and one.plural and "{m} of" in line)
            ]  # fmt: skip
            yield _Template(kind, match[2] and TOPICS[match[2]], match[4], metrics, not match[1]), int(weight)


def _alone() -> list[_Template]:
    units = ("money", "share", "count")
    metrics = [one for one in _METRICS["company"] if one.good and one.forecast and one.unit in units and one.names != ["net inflows"]]
    return [_Template("alone", TOPICS[line[1]], line[3:], metrics, False) for line in _ALONE]


_WEIGHTS: dict[str, int] = {"alone": 8}
_KINDS: dict[str, list[_Template]] = {"alone": _alone()}
for _template, _weight in _parse():
    _KINDS.setdefault(_template.kind, []).append(_template)
    _WEIGHTS[_template.kind] = _weight
_QUARTERLY = {"GDP growth", "economic growth", "public debt to GDP", "bad-loan ratio of banks", "mortgage arrears rate", "card delinquency rate"}
# Those of a quotation, where lower is better.
_COSTS = {"bill"}


def _named_scale(rng: random.Random, name: str, currency: str, words: dict[str, str]) -> _Scale:
    """The scale of a slot that names its unit, such as {price:new}."""
    if name in ("level", "ounce"):
        item = rng.choice(INDICES if name == "level" else METALS)
        words["ix" if name == "level" else "metal"] = item[0]
        usual, unit = float(item[1]), f" {item[2]}" if name == "ounce" else ""
        digits, sign = 0 if usual > 1000 else 1 if not unit else 2, "$" if unit else ""
        return _Scale(usual * 0.9, usual * 1.1, lambda value: round(value, digits), lambda value, bare: f"{sign}{value:,.{digits}f}{unit}")
    if name in ("price", "eps"):
        return _share(rng, currency, *((2, 400) if name == "price" else (0.05, 6)))
    if name == "pmi":
        return _scale(rng, "index", currency, 42, 59)
    if name == "pct":
        return _scale(rng, "pct", currency, 1, 9)
    return _money(rng, currency, *((10, 3000) if name == "bill" else (8, 20000)))


def _signed(rng: random.Random, name: str, scale: _Scale) -> _Scale:
    """The scale for figures on either side of nought: a profit or a loss, or an amount with its sign."""
    which, minus = rng.choice(["", "", "net ", "pretax "]), rng.choice(["-", "-", "minus "])
    plus = rng.choice(["", "", "+"]) if minus == "-" else rng.choice(["", "plus "])

    def write(value: float, bare: bool) -> str:
        size = scale.write(abs(value), False)
        return f"{which}{'profit' if value > 0 else 'loss'} of {size}" if name == "result" else f"{plus if value > 0 else minus}{size}"

    return _Scale(scale.low, scale.high, scale.rounded, write)


def _rendered(text: str, words: dict[str, str], figures: dict[str, str], dress: str) -> tuple[str, str | None]:
    filled = re.sub(r"{(?:\w+:)?(\w+)}", lambda m: figures.get(m[1]) or words[m[1]], text).replace("s's ", "s' ")
    title, _, body = re.sub(r"(^|[.!?] |// )([a-z])", lambda m: m[1] + m[2].upper(), filled).partition(" // ")
    if dress == "upper":
        title = title.upper()
    elif dress == "title" and not re.search(r"[(]|cent\b", title):
        title = re.sub(r"(?<![^ ])[a-z][^ ]*", capitals, title)
    return title, body or None


def _group(rng: random.Random, template: _Template) -> list[Row]:
    """A text and its mirror, with a third of equal figures now and then; one row where the figures tell nothing."""
    metric = rng.choice(template.metrics) if template.metrics else None
    about_land = template.kind in ("forecast", "prior") or template.topic == TOPICS["X"]
    company = _company(rng, metric.who if metric and not about_land else frozenset(_TAILS) - {"defence"})
    currency = COUNTRIES[company.country][2]
    words = _words(rng, company, metric)
    if metric and words.get("m") in _QUARTERLY:
        words |= {"month": words["Q2"], "month0": words["Q1"]}
    units = template.units
    scale = _named_scale(rng, units[0], currency, words) if units else None
    scale = scale or (_scale(rng, metric.unit, currency, metric.low, metric.high) if metric else None)
    assert scale, template.text
    high, low = _two(rng, scale, 0.3 if metric and about_land and metric.unit in ("pct", "index") else 1.0)
    if template.kind == "swing":
        scale = _signed(rng, units[0], scale)
        high, low = rng.choice([(high, -low), (low, -high), (-low, -high), (high, low)])
    good = metric.good if metric and not units else not _COSTS & set(units)
    second = scale
    if "{money:new2}" in template.text:  # beside revenue a profit, else revenue
        second = replace(scale, low=max(low * 0.03, 1), high=max(low * 0.25, 2)) if units[0] == "money" else _money(rng, currency, 30, 9000)
    bare = template.kind != "swing" and rng.random() < 0.3
    order = [name for name in re.findall(r"{(?:\w+:)?(new2?|old2?)}", template.text)]
    if template.kind in ("double", "alone"):
        high2, low2 = _two(rng, second)
    else:  # the upper ends of two ranges
        spread = 1.1 if "{new2}" in template.text else 1
        high2, low2 = high * spread, low * spread

    def shown(new: float, old: float, new2: float, old2: float) -> dict[str, str]:
        figures = {"new": (scale, new), "old": (scale, old), "new2": (second, new2), "old2": (second, old2)}
        return {name: one.write(value, bare and bool(order) and name != order[0]) for name, (one, value) in figures.items()}

    chance = rng.random()
    dress = "" if "$" in template.text or "JUST IN" in template.text else "upper" if chance < 0.06 else "title" if chance < 0.2 else ""
    bodies = _LAND_BODIES if about_land else _BODIES
    body = rng.choice(bodies) if rng.random() < _BODY_SHARE and "//" not in template.text else None

    def row(sentiment: str, figures: dict[str, str]) -> Row:
        title, own = _rendered(template.text, words, figures, dress)
        own = own or (body and _rendered(body, words, figures, "")[0])
        return Row(title=title, body=own, topic=template.topic or (metric.topic if metric else TOPICS["F"]), sentiment=sentiment, kind=template.kind)

    if template.kind == "alone":
        return [row("neutral", shown(high, low, high2, low2))]
    if template.kind == "double" and rng.random() < 0.3:
        return [row("neutral", shown(*rng.choice([(high, low, low2, high2), (low, high, high2, low2)])))]
    rows = [row("positive" if good else "negative", shown(high, low, high2, low2)), row("negative" if good else "positive", shown(low, high, low2, high2))]
    rng.shuffle(rows)
    if template.equal and template.kind != "swing" and "loss" not in words.get("m", "") and rng.random() < _EQUAL_SHARE:
        rows.append(row("neutral", shown(low, low, low2, low2)))
    return rows


def generate(count: int, seed: int) -> list[Row]:
    """At least `count` rows, none a near duplicate of another; each directional row stands beside its mirror."""
    rng = random.Random(seed)
    decks: dict[str, list[_Template]] = {kind: [] for kind in _KINDS}
    kept: dict[str, list[set[str]]] = {}
    rows: list[Row] = []
    while len(rows) < count:
        [kind] = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        decks[kind] = decks[kind] or rng.sample(_KINDS[kind], len(_KINDS[kind]))
        template = decks[kind].pop()
        group = _group(rng, template)
        texts = [passage(row["title"], row["body"]) for row in group]
        before = kept.setdefault(template.text, [])
        own: list[set[str]] = []
        for text in texts:
            shingles = prepare._shingles(text)
            if all(prepare._overlap(shingles, other) < prepare.NEAR for other in before + own):
                own.append(shingles)
        # Training leaves out bodies of titles with six words or more: such a title must not need its body.
        if len(own) == len(group) and not (" // " in template.text and len(group[0]["title"].split()) > 5):
            before += own
            rows += group
    return rows


if __name__ == "__main__":
    for _row_made in generate(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps({name: value for name, value in _row_made.items() if value}, ensure_ascii=False))
