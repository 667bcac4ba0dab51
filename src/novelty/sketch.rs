//! What a headline says, short enough to be compared with many.
//!
//! MinHash over word shingles (Broder 1997, *On the resemblance and containment of documents*): a headline's sketch is the
//! least [`SKETCH`] hashes of its one- and two-word shingles.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hashes in a sketch: all of a headline of up to some twelve words, so that its resemblance is exact; beyond that an
/// estimate with a standard error of about 0.1.
const SKETCH: usize = 24;
/// A story is a candidate when it shares a band of two MinHash values: at a resemblance of 0.6 with probability
/// 1 − (1 − 0.6²)¹² = 0.995, at 0.1 with 0.11.
pub(super) const BANDS: usize = 12;
const ROWS: usize = 2;
/// Set in the hash of a shingle that is a number, and of one that is a name.
const NUMBER: u32 = 1;
const NAME: u32 = 2;
const FLAGS: u32 = NUMBER | NAME;

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

    /// The same for the same sketch, and for hardly any other.
    pub fn key(&self) -> u64 {
        self.0.iter().fold(0, |key, &shingle| mix(key ^ u64::from(shingle & !FLAGS)))
    }

    pub(super) fn signature(&self) -> Signature {
        let marks = self.0.iter().fold(0, |marks, shingle| marks | 1 << (shingle >> 26));
        Signature { marks, length: self.0.len() as u32 }
    }

    /// One key for each band.
    pub(super) fn bands(&self) -> [u64; BANDS] {
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
pub(super) struct Signature {
    marks: u64,
    length: u32,
}

impl Signature {
    /// No less than the resemblance of the two sketches.
    pub(super) fn most_resemblance(self, other: Self) -> f64 {
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
pub(super) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// FNV-1a, mixed: the same in every process.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

pub(super) fn fold(value: u64) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn resemblance(one: &str, other: &str) -> f64 {
        Sketch::of(one).unwrap().resemblance(&Sketch::of(other).unwrap())
    }

    /// Pairs of headlines of our own: copies, edits and rewrites of a story, and different stories.
    fn pairs() -> Vec<(String, bool, f64)> {
        let text = include_str!("../../tests/fixtures/novelty.jsonl");
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
        let text = include_str!("../../tests/fixtures/novelty.jsonl");
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
}
