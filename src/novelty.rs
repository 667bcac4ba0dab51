//! Which negative items are news, and which repeat a story that its subject has had already. Pure.
//!
//! MinHash over word shingles (Broder 1997, *On the resemblance and containment of documents*): a headline's sketch is the
//! least [`SKETCH`] hashes of its one- and two-word shingles. LSH banding (Indyk & Motwani 1998; Leskovec, Rajaraman &
//! Ullman, *Mining of Massive Datasets*, 3.4) finds the few stories worth comparing.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::NoveltyConfig;
use crate::news::{EventTime, Subject};
use crate::window::{PaneRecord, SourceCounts, SubjectMap};

/// Hashes in a sketch: all of a headline of up to some twelve words, so that its resemblance is exact; beyond that an
/// estimate with a standard error of about 0.1.
const SKETCH: usize = 24;
/// A story is a candidate when it shares a band of two MinHash values: at a resemblance of 0.6 with probability
/// 1 − (1 − 0.6²)¹² = 0.995, at 0.1 with 0.11.
const BANDS: usize = 12;
const ROWS: usize = 2;
/// Stories looked at in a band, the newest first: headlines made by a machine share bands by the thousand.
const LOOKS: usize = 16;
/// Distinct sources that a story remembers; more are not told apart from this many.
const MAX_SOURCES: usize = 16;
/// Within `novelty.horizon` memory is searched so often for subjects that have fallen silent.
const SWEEPS: i64 = 24;
/// Set in the hash of a shingle that is a number, and of one that is a name.
const NUMBER: u32 = 1;
const NAME: u32 = 2;
const FLAGS: u32 = NUMBER | NAME;
const NONE: u32 = u32::MAX;

/// What words a headline is made of, as far as telling copies apart needs. JSON: hexadecimal, eight digits a shingle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sketch(Box<[u32]>);

impl Sketch {
    /// `None` where the headline has no words.
    pub fn of(headline: &str) -> Option<Self> {
        let mut shingles = Vec::with_capacity(32);
        let mut before = None;
        each_word(headline, |word, flag| {
            let word = hash(word);
            shingles.push(fold(word) & !FLAGS | flag);
            if let Some(before) = before {
                shingles.push(fold(mix(before ^ word.rotate_left(29))) & !FLAGS);
            }
            before = Some(word);
        });
        shingles.sort_unstable();
        shingles.dedup_by(|one, kept| {
            let same = *one & !FLAGS == *kept & !FLAGS;
            *kept |= if same { *one & FLAGS } else { 0 };
            same
        });
        shingles.truncate(SKETCH);
        (!shingles.is_empty()).then(|| Self(shingles.into()))
    }

    /// Resemblance |A ∩ B| / |A ∪ B|, 0 to 1. It is 0 where both have figures and none in common, because the same thing
    /// again is news; and where each has a name that the other does not have, because it happened to somebody else.
    pub fn resemblance(&self, other: &Self) -> f64 {
        let (mut one, mut two) = (0, 0);
        let (mut shared, mut united) = (0, 0);
        // Flags of the shingles of either, of those that only one has, and of those that both have.
        let (mut flags, mut alone, mut common) = ([0, 0], [0, 0], 0);
        // Beyond what a full sketch holds nothing is known of the union.
        let reach = if self.0.len().max(other.0.len()) < SKETCH { usize::MAX } else { SKETCH };
        while united < reach && (one < self.0.len() || two < other.0.len()) {
            let at_end = u32::MAX;
            let (left, right) = (self.0.get(one).copied().unwrap_or(at_end), other.0.get(two).copied().unwrap_or(at_end));
            let least = (left & !FLAGS).min(right & !FLAGS);
            let (in_one, in_two) = (one < self.0.len() && left & !FLAGS == least, two < other.0.len() && right & !FLAGS == least);
            one += usize::from(in_one);
            two += usize::from(in_two);
            united += 1;
            if in_one {
                flags[0] |= left & FLAGS;
            }
            if in_two {
                flags[1] |= right & FLAGS;
            }
            match (in_one, in_two) {
                (true, true) => {
                    shared += 1;
                    common |= left & right;
                }
                (true, false) => alone[0] |= left & FLAGS,
                _ => alone[1] |= right & FLAGS,
            }
        }
        let other_figures = flags[0] & flags[1] & !common & NUMBER != 0;
        let other_names = alone[0] & alone[1] & NAME != 0;
        if other_figures || other_names { 0.0 } else { f64::from(shared as u32) / f64::from(united as u32) }
    }

    fn signature(&self) -> Signature {
        let marks = self.0.iter().fold(0, |marks, shingle| marks | 1 << (shingle >> 26));
        Signature { marks, length: self.0.len() as u32 }
    }

    /// One key for each band.
    fn bands(&self) -> [u64; BANDS] {
        let mut keys = [0; BANDS];
        for (band, key) in keys.iter_mut().enumerate() {
            *key = (band as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for (multiplier, increment) in &PERMUTATIONS[band * ROWS..(band + 1) * ROWS] {
                // Multiply-shift (Dietzfelbinger et al. 1997) in place of a random permutation.
                let least =
                    self.0.iter().map(|&shingle| multiplier.wrapping_mul(u64::from(shingle & !FLAGS)).wrapping_add(*increment) >> 32).min();
                *key = mix(*key ^ least.expect("a sketch is not empty"));
            }
        }
        keys
    }
}

/// A bit for each shingle, by its first six bits: enough to see at a glance that two sketches have little in common.
#[derive(Debug, Clone, Copy)]
struct Signature {
    marks: u64,
    length: u32,
}

impl Signature {
    /// No less than the resemblance of the two sketches.
    fn most_resemblance(self, other: Self) -> f64 {
        // A bit that the other does not have is of a shingle that it does not have.
        let shared = |one: Self, two: Self| one.length - (one.marks & !two.marks).count_ones();
        let shared = shared(self, other).min(shared(other, self));
        let united = match self.length.max(other.length) < SKETCH as u32 {
            true => self.length + other.length - shared,
            false => SKETCH as u32,
        };
        f64::from(shared) / f64::from(united)
    }
}

/// Fixed, so that every process sees the same copies.
const PERMUTATIONS: [(u64, u64); BANDS * ROWS] = permutations();

const fn permutations() -> [(u64, u64); BANDS * ROWS] {
    let mut pairs = [(0, 0); BANDS * ROWS];
    let mut index = 0;
    while index < pairs.len() {
        let seed = index as u64 * 2;
        pairs[index] = (mix(seed.wrapping_add(0x5851_f42d_4c95_7f2d)) | 1, mix(seed.wrapping_add(0x1405_7b7e_f767_814f)));
        index += 1;
    }
    pairs
}

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014).
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// FNV-1a, mixed: the same in every process.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

fn fold(value: u64) -> u32 {
    (value >> 32) as u32
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 8);
        for shingle in &self.0 {
            use std::fmt::Write;
            let _ = write!(text, "{shingle:08x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("a sketch is eight hexadecimal digits for each shingle");
        if text.is_empty() || text.len() % 8 != 0 || !text.is_ascii() {
            return Err(wrong());
        }
        let shingles: Result<Vec<u32>, _> =
            text.as_bytes().chunks(8).map(|digits| u32::from_str_radix(std::str::from_utf8(digits).unwrap_or(""), 16)).collect();
        shingles.map(|shingles| Self(shingles.into())).map_err(|_| wrong())
    }
}

const LEADERS: [&str; 14] = [
    "update",
    "wrapup",
    "rpt",
    "refile",
    "breaking",
    "breaking news",
    "exclusive",
    "correction",
    "corrected",
    "flash",
    "alert",
    "just in",
    "live",
    "watch",
];
const STOP_WORDS: [&str; 36] = [
    "a",
    "an",
    "the",
    "of",
    "to",
    "in",
    "on",
    "for",
    "at",
    "by",
    "as",
    "after",
    "following",
    "and",
    "or",
    "is",
    "are",
    "was",
    "were",
    "be",
    "has",
    "have",
    "had",
    "its",
    "it",
    "with",
    "from",
    "that",
    "this",
    "will",
    "would",
    "over",
    "amid",
    "into",
    "says",
    "say",
];

/// The headline without "UPDATE 1-" before it and " - Some Wire" behind it.
fn bare(headline: &str) -> &str {
    let mut text = headline.trim();
    // Most headlines have no mark that could set a part off.
    if text.is_ascii() && !text.bytes().any(|byte| matches!(byte, b':' | b'-' | b'|')) {
        return text;
    }
    while let Some((before, after)) = text.split_once([':', '-', '–', '—']) {
        let before = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
        if after.trim().is_empty() || !LEADERS.iter().any(|leader| leader.eq_ignore_ascii_case(before)) {
            break;
        }
        text = after.trim_start_matches([':', '-', '–', '—', ' ']);
    }
    for separator in [" | ", " - ", " – ", " — "] {
        if let Some((head, tail)) = text.rsplit_once(separator)
            && names_a_source(head, tail)
        {
            return head;
        }
    }
    text
}

/// A short tail of names behind a headline of some length.
fn names_a_source(head: &str, tail: &str) -> bool {
    let words = tail.split_whitespace();
    words.clone().count() <= 3
        && head.split_whitespace().nth(2).is_some()
        && words.clone().all(|word| word.chars().next().is_some_and(|first| first.is_uppercase() || first.is_numeric()))
}

/// Words of a headline in lower case and in order, and whether each is a number or a name. Left out are words that say
/// nothing; plurals, units and figures are made alike. A script without spaces gives its characters.
fn each_word(headline: &str, mut act: impl FnMut(&[u8], u32)) {
    let (text, tokens) = tokens(headline);
    let end_of = |index: usize| tokens.get(index + 1).map_or(text.len(), |next| next.start);
    let text_of = |index: usize| tokens.get(index).map_or("", |token| &text[token.start..end_of(index)]);
    let is_capital = |index: usize| tokens.get(index).is_some_and(|token| token.capital);
    // Where nearly every word has a capital, it says nothing.
    let long = |token: &&Token| token.kind == Kind::Word && token.letters > 3;
    let (long, capitals) = (tokens.iter().filter(long).count(), tokens.iter().filter(long).filter(|token| token.capital).count());
    let has_names = capitals * 10 <= long * 7;
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let word = text_of(index);
        // The first word has its capital anyway, unless it begins a name.
        let name = has_names && token.capital && (index > 0 || is_capital(index + 1));
        index += 1;
        match token.kind {
            Kind::Number => {
                let scale = scale(text_of(index));
                index += usize::from(scale.is_some());
                let thousandths = word.parse::<f64>().unwrap_or(0.0) * scale.unwrap_or(1.0) * 1000.0;
                act(&(thousandths.round() as i64).to_le_bytes(), NUMBER);
            }
            Kind::Single => act(word.as_bytes(), 0),
            Kind::Word => match word {
                "percent" | "pct" => act(b"%", 0),
                "bps" | "bp" => act(b"basis", 0),
                "points" if index > 1 && text_of(index - 2) == "basis" => {}
                _ if STOP_WORDS.contains(&word) => {}
                _ => act(singular(word).as_bytes(), if name { NAME } else { 0 }),
            },
        }
    }
}

/// A piece of a headline, in lower case from `start` to the next one's.
struct Token {
    kind: Kind,
    start: usize,
    /// Its first letter was a capital.
    capital: bool,
    letters: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Number,
    /// A character that is a word by itself.
    Single,
}

fn tokens(headline: &str) -> (String, Vec<Token>) {
    let mut text = String::with_capacity(headline.len());
    let mut tokens: Vec<Token> = Vec::with_capacity(24);
    let mut chars = bare(headline).chars().peekable();
    let mut open = None;
    while let Some(character) = chars.next() {
        let kind = match character {
            // "bank's" is "bank", "don't" is "dont".
            '\'' | '’' | '‘' => {
                let mut ahead = chars.clone();
                if ahead.next_if(|next| matches!(next, 's' | 'S')).is_some() && !ahead.peek().is_some_and(|next| next.is_alphanumeric()) {
                    chars.next();
                }
                continue;
            }
            ',' if open == Some(Kind::Number) && chars.peek().is_some_and(char::is_ascii_digit) => continue,
            '.' if open == Some(Kind::Number) && chars.peek().is_some_and(char::is_ascii_digit) => Kind::Number,
            // "U.S." is "US".
            '.' if open == Some(Kind::Word) && tokens.last().is_some_and(|token| token.letters < 3) => {
                let mut ahead = chars.clone();
                if ahead.next_if(|next| next.is_alphabetic()).is_some() && !ahead.peek().is_some_and(|next| next.is_alphanumeric()) {
                    continue;
                }
                open = None;
                continue;
            }
            _ if character.is_ascii_digit() && open != Some(Kind::Word) => Kind::Number,
            '%' => Kind::Single,
            _ if is_ideograph(character) => Kind::Single,
            _ if character.is_alphanumeric() => Kind::Word,
            _ => {
                open = None;
                continue;
            }
        };
        if open != Some(kind) || kind == Kind::Single {
            tokens.push(Token { kind, start: text.len(), capital: character.is_uppercase(), letters: 0 });
        }
        tokens.last_mut().expect("pushed by now").letters += 1;
        open = Some(kind);
        match character.is_ascii() {
            true => text.push(character.to_ascii_lowercase()),
            false => text.extend(character.to_lowercase()),
        }
    }
    (text, tokens)
}

fn scale(unit: &str) -> Option<f64> {
    match unit {
        "k" | "thousand" => Some(1e3),
        "m" | "mn" | "mln" | "million" => Some(1e6),
        "b" | "bn" | "bln" | "billion" => Some(1e9),
        "tn" | "trln" | "trillion" => Some(1e12),
        _ => None,
    }
}

fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with(['s', 'i', 'u']) => stem,
        _ => word,
    }
}

/// Chinese, Japanese and Korean.
fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// A negative item of an open pane, until its pane closes and it is known what came before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NegativeItem {
    pub at: EventTime,
    /// Hash of its id.
    pub id: u64,
    /// `None` without a headline: such an item repeats nothing.
    pub sketch: Option<Sketch>,
    pub source: Option<Arc<str>>,
    /// What else it is about; only the market's items say so.
    pub subjects: Vec<Subject>,
}

fn unknown() -> Arc<str> {
    static UNKNOWN: LazyLock<Arc<str>> = LazyLock::new(|| "unknown".into());
    UNKNOWN.clone()
}

/// Negative items of one story in one pane, as the pane's record keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryRecord {
    #[serde(with = "hexadecimal")]
    pub id: u64,
    pub items: u64,
    pub sources: BTreeSet<Arc<str>>,
    /// Only in the pane in which the story was new, with its first item's event time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_seen: Option<EventTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sketch: Option<Sketch>,
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// What is new in a pane.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Novel {
    pub items: u64,
    /// Novel items by source; those without one count as `unknown`.
    pub sources: SourceCounts,
    /// Novel items by what else they are about.
    pub members: BTreeMap<Subject, u64>,
    pub stories: Vec<StoryRecord>,
}

impl Novel {
    /// Every item is news.
    pub fn all(items: Vec<NegativeItem>) -> Self {
        items.into_iter().fold(Self::default(), |mut novel, item| {
            novel.add(item.source, item.subjects);
            novel
        })
    }

    fn add(&mut self, source: Option<Arc<str>>, members: Vec<Subject>) {
        self.items += 1;
        self.sources.add(&source.unwrap_or_else(unknown), 1);
        for member in members {
            *self.members.entry(member).or_default() += 1;
        }
    }
}

/// How far a story has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    pub first_seen: EventTime,
    /// Items beside the first.
    pub copies: u64,
    /// Distinct sources, at most [`MAX_SOURCES`].
    pub sources: usize,
}

#[derive(Debug)]
struct Story {
    id: u64,
    first_seen: EventTime,
    items: u64,
    /// Hashes of the sources' names.
    sources: Vec<u32>,
    signature: Signature,
    sketch: Sketch,
    /// For each band the story before this one with the same key.
    before: [u32; BANDS],
}

impl Story {
    fn add(&mut self, items: u64, sources: impl Iterator<Item = u32>) {
        self.items += items;
        for source in sources {
            if self.sources.len() < MAX_SOURCES && !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
    }
}

/// The keys of the tables below are hashes already.
#[derive(Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole u64 keys are hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Table = HashMap<u64, u32, BuildHasherDefault<Hashed>>;

/// The stories of one subject, oldest first. Numbers count up from the first story ever held.
#[derive(Debug, Default)]
struct Stories {
    stories: VecDeque<Story>,
    /// Number of the front of `stories`.
    first: u32,
    /// The newest story of a band's key.
    bands: Table,
    numbers: Table,
}

impl Stories {
    fn get(&self, number: u32) -> Option<&Story> {
        self.stories.get(number.wrapping_sub(self.first) as usize)
    }

    /// The story most like this sketch, of two alike the older.
    /// Only among those that began at `from` or later.
    fn find(&self, sketch: &Sketch, bands: &[u64; BANDS], similarity: f64, from: EventTime) -> Option<u32> {
        let signature = sketch.signature();
        let mut best: Option<(f64, u32)> = None;
        for (band, key) in bands.iter().enumerate() {
            if best.is_some_and(|(most, _)| most >= 1.0) {
                break;
            }
            let mut number = self.bands.get(key).copied().unwrap_or(NONE);
            // A story that was forgotten ends the chain: those before it are older still.
            for _ in 0..LOOKS {
                let Some(story) = self.get(number).filter(|story| story.first_seen >= from) else { break };
                if story.signature.most_resemblance(signature) >= best.map_or(similarity, |(most, _)| most) {
                    let resemblance = story.sketch.resemblance(sketch);
                    let better = best.is_none_or(|(most, at)| resemblance > most || (resemblance == most && number < at));
                    if resemblance >= similarity && better {
                        best = Some((resemblance, number));
                    }
                }
                number = story.before[band];
            }
        }
        best.map(|(_, number)| number)
    }

    fn push(&mut self, id: u64, first_seen: EventTime, sketch: Sketch, bands: &[u64; BANDS]) -> u32 {
        let number = self.first.wrapping_add(self.stories.len() as u32);
        let mut before = [NONE; BANDS];
        for (key, before) in bands.iter().zip(&mut before) {
            *before = self.bands.insert(*key, number).unwrap_or(NONE);
        }
        self.numbers.insert(id, number);
        let signature = sketch.signature();
        self.stories.push_back(Story { id, first_seen, items: 0, sources: Vec::new(), signature, sketch, before });
        number
    }

    fn forget_oldest(&mut self) {
        let Some(story) = self.stories.pop_front() else { return };
        let number = self.first;
        self.first = self.first.wrapping_add(1);
        let unless_newer = |table: &mut Table, key| {
            if let Entry::Occupied(entry) = table.entry(key)
                && *entry.get() == number
            {
                entry.remove();
            }
        };
        for key in story.sketch.bands() {
            unless_newer(&mut self.bands, key);
        }
        unless_newer(&mut self.numbers, story.id);
    }

    fn forget_before(&mut self, start: EventTime) {
        while self.stories.front().is_some_and(|story| story.first_seen < start) {
            self.forget_oldest();
        }
    }
}

/// The stories of all subjects of one monitor partition. Memory: subjects × `novelty.max_stories` × some 500 bytes at most.
#[derive(Debug)]
pub struct Novelty {
    config: NoveltyConfig,
    subjects: SubjectMap<Stories>,
    /// Stories that began before this are forgotten, though they may still be held.
    forgotten: EventTime,
    swept_at: EventTime,
}

fn source_hash(source: Option<&str>) -> u32 {
    fold(hash(source.unwrap_or("unknown").as_bytes()))
}

impl Novelty {
    pub fn new(config: NoveltyConfig) -> Self {
        Self { config, subjects: SubjectMap::default(), forgotten: EventTime(i64::MIN), swept_at: EventTime(i64::MIN) }
    }

    /// Tells news from copies among the negative items of a pane that closes. In order of event time, whatever the order
    /// of arrival: so it is the same on every run. Panes of a subject come in their order.
    pub fn judge(&mut self, subject: &Subject, pane_start: EventTime, mut items: Vec<NegativeItem>) -> Novel {
        let mut novel = Novel::default();
        if items.is_empty() {
            return novel;
        }
        items.sort_unstable();
        if !self.subjects.contains_key(subject) {
            self.subjects.insert(subject.clone(), Stories::default());
        }
        let stories = self.subjects.get_mut(subject).expect("inserted just now");
        stories.forget_before(pane_start.plus(-self.config.horizon.ms()));
        // Places in `novel.stories`.
        let mut touched: HashMap<u32, usize, foldhash::fast::RandomState> = HashMap::default();
        for item in items {
            let mut new = true;
            if let Some(sketch) = item.sketch {
                let bands = sketch.bands();
                let known = stories.find(&sketch, &bands, self.config.similarity, EventTime(i64::MIN));
                new = known.is_none();
                let number = known.unwrap_or_else(|| {
                    let id = mix(item.id ^ mix(item.at.0 as u64));
                    stories.push(id, item.at, sketch, &bands)
                });
                let story = &mut stories.stories[number.wrapping_sub(stories.first) as usize];
                story.add(1, std::iter::once(source_hash(item.source.as_deref())));
                let place = *touched.entry(number).or_insert_with(|| {
                    novel.stories.push(StoryRecord {
                        id: story.id,
                        items: 0,
                        sources: BTreeSet::new(),
                        first_seen: new.then_some(story.first_seen),
                        sketch: new.then(|| story.sketch.clone()),
                    });
                    novel.stories.len() - 1
                });
                let record = &mut novel.stories[place];
                record.items += 1;
                if record.sources.len() < MAX_SOURCES {
                    record.sources.insert(item.source.clone().unwrap_or_else(unknown));
                }
                while stories.stories.len() > self.config.max_stories {
                    stories.forget_oldest();
                }
            }
            if new {
                novel.add(item.source, item.subjects);
            }
        }
        novel
    }

    /// Takes back what was published of a pane before a restart. Panes of a subject come in their order.
    pub fn restore(&mut self, pane: &PaneRecord) {
        if pane.stories.is_empty() {
            return;
        }
        let stories = self.subjects.entry(pane.subject.clone()).or_default();
        stories.forget_before(pane.pane_start.plus(-self.config.horizon.ms()));
        for record in &pane.stories {
            let number = match (&record.sketch, record.first_seen) {
                (Some(sketch), Some(first_seen)) => stories.push(record.id, first_seen, sketch.clone(), &sketch.bands()),
                _ => match stories.numbers.get(&record.id) {
                    Some(&number) => number,
                    None => continue,
                },
            };
            let index = number.wrapping_sub(stories.first) as usize;
            stories.stories[index].add(record.items, record.sources.iter().map(|source| source_hash(Some(source))));
            while stories.stories.len() > self.config.max_stories {
                stories.forget_oldest();
            }
        }
    }

    /// How far the story of this headline has come; `None` where it is not among those of the subject.
    pub fn spread(&self, subject: &Subject, sketch: &Sketch) -> Option<Spread> {
        let stories = self.subjects.get(subject)?;
        let number = stories.find(sketch, &sketch.bands(), self.config.similarity, self.forgotten)?;
        let story = stories.get(number)?;
        Some(Spread { first_seen: story.first_seen, copies: story.items - 1, sources: story.sources.len() })
    }

    /// True where two headlines tell one story.
    pub fn same_story(&self, one: &Sketch, other: &Sketch) -> bool {
        one.resemblance(other) >= self.config.similarity
    }

    /// Drops stories that no later pane can repeat.
    pub fn forget_before(&mut self, pane_start: EventTime) {
        self.forgotten = pane_start.plus(-self.config.horizon.ms());
        // Of a subject with news they are dropped when that is judged; of the others now and then, because a look at each
        // subject at every pane would cost more than the news.
        if pane_start.0 < self.swept_at.0.saturating_add(self.config.horizon.ms() / SWEEPS) {
            return;
        }
        self.swept_at = pane_start;
        let forgotten = self.forgotten;
        self.subjects.retain(|_, stories| {
            stories.forget_before(forgotten);
            !stories.stories.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::news::Sentiment;
    use crate::window::OpenPanes;
    use crate::window::panes::tests::item;

    const PANE: i64 = 10_000;

    fn novelty() -> Novelty {
        Novelty::new(Config::default().novelty)
    }

    fn resemblance(one: &str, other: &str) -> f64 {
        Sketch::of(one).unwrap().resemblance(&Sketch::of(other).unwrap())
    }

    fn negative(id: &str, at: i64, title: &str, source: &str) -> NegativeItem {
        NegativeItem {
            at: EventTime(at),
            id: hash(id.as_bytes()),
            sketch: Sketch::of(title),
            source: Some(source.into()),
            subjects: Vec::new(),
        }
    }

    /// Pairs of headlines of our own: copies, edits and rewrites of a story, and different stories.
    fn pairs() -> Vec<(String, bool, f64)> {
        let text = include_str!("../tests/fixtures/novelty.jsonl");
        let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            (text("kind"), row["same_story"].as_bool().unwrap(), resemblance(&text("one"), &text("other")))
        })
        .collect()
    }

    #[test]
    fn copies_are_found_and_different_stories_kept_apart() {
        let (pairs, threshold) = (pairs(), Config::default().novelty.similarity);
        for similarity in [0.5, 0.55, 0.6, 0.65, 0.7] {
            let found = |same: bool| pairs.iter().filter(|(_, is, alike)| *is == same && *alike >= similarity).count();
            let (right, wrong) = (found(true), found(false));
            let all = pairs.iter().filter(|(_, same, _)| *same).count();
            println!("{similarity}: precision {:.3}, recall {:.3}", right as f64 / (right + wrong) as f64, right as f64 / all as f64);
        }
        let share = |kind: &str| {
            let of_kind: Vec<f64> = pairs.iter().filter(|(name, _, _)| name == kind).map(|(_, _, alike)| *alike).collect();
            (of_kind.iter().filter(|alike| **alike >= threshold).count() as f64 / of_kind.len() as f64, of_kind.len())
        };
        for kind in ["copy", "edit", "rewrite", "company", "template", "figures", "theme"] {
            println!("{kind}: {:?} taken for one story", share(kind));
        }
        assert!(share("copy").0 >= 0.95, "{:?}", share("copy"));
        assert!(share("edit").0 >= 0.85, "{:?}", share("edit"));
        assert!(share("rewrite").0 >= 0.4, "{:?}", share("rewrite"));
        assert_eq!((share("company").0, share("figures").0, share("theme").0), (0.0, 0.0, 0.0));
        assert!(share("template").0 <= 0.17, "{:?}", share("template"));
    }

    #[test]
    fn no_resemblance_exceeds_what_the_signatures_let_expect() {
        let text = include_str!("../tests/fixtures/novelty.jsonl");
        let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let sketches: Vec<Sketch> =
            rows.iter().flat_map(|row| [&row["one"], &row["other"]]).map(|text| Sketch::of(text.as_str().unwrap()).unwrap()).collect();
        let (mut passed, mut all) = (0, 0);
        for one in &sketches {
            for other in &sketches {
                let (most, is) = (one.signature().most_resemblance(other.signature()), one.resemblance(other));
                assert!(most >= is, "{most} and {is}: {one:?} {other:?}");
                passed += u32::from(most >= 0.6);
                all += 1;
            }
        }
        assert!(passed * 20 < all, "{passed} of {all} are worth a closer look");
    }

    #[test]
    fn form_does_not_matter() {
        let pairs = [
            ("Harbourline Bank halts withdrawals", "HARBOURLINE BANK HALTS WITHDRAWALS - REUTERS"),
            ("Bank fails today", "BREAKING: bank fails today!"),
            ("Loss of $2.6 billion at Quarrystone", "UPDATE 2-Loss of $2.6bn at Quarrystone | Daily Ledger"),
            ("Rates up 50 basis points", "Rates up 50 bps"),
            ("Harbourline’s chief quits", "Harbourline's chief quits"),
            ("1,200,000 cars recalled", "1.2 million cars recalled"),
            ("U.S. and E.U. fail to agree on Fenmoor rescue", "US and EU fail to agree on Fenmoor rescue"),
        ];
        for (one, other) in pairs {
            assert_eq!(resemblance(one, other), 1.0, "{one:?} and {other:?}");
        }
        assert!(resemblance("银行股暴跌引发恐慌", "银行股暴跌，引发市场恐慌") > 0.5);
        assert_eq!(resemblance("Shares fall 12%", "Shares fall 47%"), 0.0, "other figures are other news");
        let name = "Regulators give Dunmarrow two more days to find a buyer";
        assert_eq!(resemblance(name, &name.replace("Dunmarrow", "Saltmere")), 0.0, "other names are other news");
        assert!(resemblance(name, &name.replace("Dunmarrow", "ailing lender Dunmarrow")) > 0.6);
        let shouted = name.to_uppercase();
        assert!(resemblance(&shouted, &shouted.replace("DUNMARROW", "SALTMERE")) > 0.6, "capitals alone tell no names");
        for empty in ["", " ", "—", "the of", "!?"] {
            assert_eq!(Sketch::of(empty), None, "{empty:?}");
        }
    }

    #[test]
    fn a_story_counts_once_and_its_spread_is_known() {
        let (mut novelty, market) = (novelty(), Subject::market());
        let items = vec![
            negative("c", 3_000, "Harbourline Bank halts withdrawals - North Quay", "north-quay.example"),
            negative("a", 1_000, "Harbourline Bank halts withdrawals", "meridian.example"),
            negative("b", 2_000, "Fenmoor cuts dividend", "meridian.example"),
        ];
        let novel = novelty.judge(&market, EventTime(0), items);
        assert_eq!((novel.items, novel.stories.len()), (2, 2));
        assert_eq!(novel.sources, [("meridian.example", 2)].into());
        let later = vec![negative("d", 11_000, "HARBOURLINE BANK HALTS WITHDRAWALS", "ledger.example")];
        let novel = novelty.judge(&market, EventTime(10_000), later);
        assert_eq!((novel.items, novel.stories[0].items, &novel.stories[0].sketch), (0, 1, &None));
        let spread = novelty.spread(&market, &Sketch::of("Harbourline Bank halts withdrawals").unwrap()).unwrap();
        assert_eq!(spread, Spread { first_seen: EventTime(1_000), copies: 2, sources: 3 });
        assert_eq!(novelty.spread(&Subject::topic("Macro"), &Sketch::of("Harbourline Bank halts withdrawals").unwrap()), None);
    }

    #[test]
    fn a_story_is_news_again_after_the_horizon_or_when_too_many_came_after_it() {
        let config = NoveltyConfig { max_stories: 3, ..Config::default().novelty };
        let mut novelty = Novelty::new(config);
        let horizon = config.horizon.ms();
        let mut novel =
            |at: i64, title: &str| novelty.judge(&Subject::market(), EventTime(at), vec![negative(title, at, title, "a")]).items;
        assert_eq!(novel(0, "Harbourline halts withdrawals"), 1);
        assert_eq!(novel(horizon, "Harbourline halts withdrawals"), 0);
        assert_eq!(novel(horizon + PANE, "Harbourline halts withdrawals"), 1);
        for title in ["Fenmoor cuts dividend", "Orrin refinery burns", "Pellworth defaults on bond"] {
            assert_eq!(novel(horizon + PANE, title), 1);
        }
        assert_eq!(novel(horizon + PANE, "Harbourline halts withdrawals"), 1, "three stories came after it");
    }

    #[test]
    fn without_a_headline_nothing_is_a_copy() {
        let mut items = vec![negative("a", 1, "", "x"), negative("b", 2, "", "x")];
        items[1].source = None;
        let novel = novelty().judge(&Subject::market(), EventTime(0), items);
        assert_eq!((novel.items, novel.stories.len()), (2, 0));
        assert_eq!(novel.sources, [("unknown", 1), ("x", 1)].into());
    }

    #[test]
    fn banding_misses_next_to_nothing_and_offers_little_else() {
        // Of 400 sketches of made-up words, each with some of its words replaced.
        let mut state = 3_u64;
        let mut next = |below: u64| {
            state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
            state % below
        };
        let (mut similar, mut missed, mut unlike, mut offered) = (0, 0, 0, 0);
        for _ in 0..400 {
            let words: Vec<u64> = (0..10).map(|_| next(1 << 40)).collect();
            let replaced = next(6);
            let text = |words: &[u64]| words.iter().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
            let mut other = words.clone();
            (0..replaced).for_each(|_| other[next(10) as usize] = next(1 << 40));
            let (one, other) = (Sketch::of(&text(&words)).unwrap(), Sketch::of(&text(&other)).unwrap());
            let shares = one.bands().iter().zip(other.bands()).any(|(one, other)| *one == other);
            match one.resemblance(&other) {
                alike if alike >= 0.6 => (similar, missed) = (similar + 1, missed + usize::from(!shares)),
                alike if alike <= 0.1 => (unlike, offered) = (unlike + 1, offered + usize::from(shares)),
                _ => {}
            }
        }
        assert!(similar > 100 && missed * 50 <= similar, "{missed} of {similar} missed");
        assert!(offered <= unlike / 2, "{offered} of {unlike}");
    }

    fn titles() -> Vec<String> {
        let names = ["Harbourline", "Fenmoor", "Saltmere", "Quarrystone", "Larkhollow"];
        let events = ["halts withdrawals after run on deposits", "cuts dividend as losses mount", "sued by shareholders over bond losses"];
        names.iter().flat_map(|name| events.iter().map(move |event| format!("{name} {event}"))).collect()
    }

    proptest::proptest! {
        #[test]
        fn neither_order_of_arrival_nor_a_restart_changes_what_is_novel(
            raw in proptest::collection::vec((0i64..60_000, 0usize..15, 0usize..4, proptest::bool::ANY), 1..60),
            cut in 1i64..6,
            max_stories in 2usize..12,
        ) {
            let config = NoveltyConfig { max_stories, horizon: crate::config::Span::from_ms(30_000), ..Config::default().novelty };
            let titles = titles();
            let items: Vec<_> = raw.iter().enumerate().map(|(index, &(at, title, source, upper))| {
                let mut item = item(if index % 3 == 0 { "market" } else { "group:banks" }, &format!("n{index}"), at, Sentiment::Negative);
                item.title = Some(if upper { titles[title].to_uppercase() } else { titles[title].clone() });
                item.source = Some(format!("source-{source}"));
                item
            }).collect();
            let fresh = || OpenPanes::new(PANE).with_novelty(Novelty::new(config));
            let mut forwards = fresh();
            items.iter().for_each(|item| assert!(forwards.count(item)));
            let straight: Vec<_> = (1..=6).flat_map(|pane| forwards.close(EventTime(pane * PANE))).collect();
            proptest::prop_assert_eq!(straight.iter().map(|pane| pane.negative).sum::<u64>(), items.len() as u64);

            let mut backwards = fresh();
            items.iter().rev().for_each(|item| assert!(backwards.count(item)));
            proptest::prop_assert_eq!(&straight, &backwards.close(EventTime(6 * PANE)));

            // What is published is enough to go on from.
            let (before, after): (Vec<_>, Vec<_>) = straight.iter().cloned().partition(|pane| pane.pane_end.0 <= cut * PANE);
            let read_back: Vec<PaneRecord> = before.iter().map(|pane| serde_json::from_str(&serde_json::to_string(pane).unwrap()).unwrap()).collect();
            let mut restored = fresh();
            restored.restore(&read_back);
            items.iter().filter(|item| item.event_time_ms >= cut * PANE).for_each(|item| assert!(restored.count(item)));
            proptest::prop_assert_eq!(after, restored.close(EventTime(6 * PANE)));
            for title in &titles {
                let sketch = Sketch::of(title).unwrap();
                for subject in [Subject::market(), Subject::group("banks")] {
                    proptest::prop_assert_eq!(
                        forwards.novelty().unwrap().spread(&subject, &sketch),
                        restored.novelty().unwrap().spread(&subject, &sketch)
                    );
                }
            }
        }
    }
}
