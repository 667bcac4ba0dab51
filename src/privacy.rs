//! Masking: personal data becomes a typed token before a text leaves the classifier.
//!
//! Kinds: `email`, `card` (ISO/IEC 7812 Luhn digit), `iban` (ISO 13616 mod-97). Amounts, dates and tickers stay.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::news::NewsItem;

/// The kinds of personal data that are masked: metric labels, and the names in the tokens.
pub const KINDS: [&str; 3] = ["email", "card", "iban"];

static EMAIL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}"));
static CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[0-9](?:[ -]?[0-9]){12,18}\b"));
static IBAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{2,4}){3,8}\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern that the tests compile")
}

/// Replaces personal data in title and body by `[EMAIL]`, `[CARD]`, `[IBAN]`. Returns how many of each kind.
pub fn mask(item: &mut NewsItem) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for text in [&mut item.title, &mut item.body].into_iter().flatten() {
        // The cheap test first: nearly every headline has neither an at sign nor a long run of digits.
        if text.contains('@') {
            replace(text, &EMAIL, "email", &mut counts, |_| true);
        }
        if text.bytes().filter(u8::is_ascii_digit).count() >= 10 {
            replace(text, &IBAN, "iban", &mut counts, is_iban);
            replace(text, &CARD, "card", &mut counts, is_card);
        }
    }
    counts
}

fn replace(text: &mut String, pattern: &Regex, kind: &str, counts: &mut BTreeMap<String, u32>, real: fn(&str) -> bool) {
    let mut found = 0;
    let masked = pattern.replace_all(text, |captures: &regex::Captures<'_>| {
        if real(&captures[0]) {
            found += 1;
            format!("[{}]", kind.to_ascii_uppercase())
        } else {
            captures[0].to_owned()
        }
    });
    if found > 0 {
        *text = masked.into_owned();
        *counts.entry(kind.to_owned()).or_default() += found;
    }
}

fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|character| character.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| match (index % 2, digit * 2) {
            (0, _) => digit,
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|&digit| digit != 0)
}

fn is_iban(text: &str) -> bool {
    let compact: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    if !(15..=34).contains(&compact.len()) {
        return false;
    }
    let (head, tail) = compact.split_at(4);
    let remainder = tail.chars().chain(head.chars()).fold(0u64, |remainder, character| {
        let value = u64::from(character.to_digit(36).expect("the pattern admits letters and digits only"));
        (remainder * if value > 9 { 100 } else { 10 } + value) % 97
    });
    remainder == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::EventTime;

    fn masked(text: &str) -> (String, BTreeMap<String, u32>) {
        let mut item = NewsItem {
            id: "1".into(),
            published_at: EventTime(0),
            title: Some(text.into()),
            body: None,
            source: None,
            url: None,
            symbols: Vec::new(),
            lang: None,
            extra: serde_json::Map::new(),
        };
        let counts = mask(&mut item);
        (item.title.unwrap(), counts)
    }

    #[test]
    fn personal_data_becomes_typed_tokens_and_is_counted() {
        let (text, counts) = masked("Write to jo.doe@desk.example or pay GB82 WEST 1234 5698 7654 32 by 4111 1111 1111 1111.");
        assert_eq!(text, "Write to [EMAIL] or pay [IBAN] by [CARD].");
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn news_figures_stay() {
        for text in [
            "Loss of $1,234,567,890,123 on 2023-03-10",
            "Order 4111 1111 1111 1112 shipped",
            "GB00 WEST 1234 5698 7654 32 is no account",
            "0000 0000 0000 0000 is nothing",
        ] {
            assert_eq!(masked(text), (text.to_owned(), BTreeMap::new()));
        }
    }
}
