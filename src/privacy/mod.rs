//! Masking: personal data becomes a typed token before a text leaves the classifier.
//!
//! A number is masked where its check digits say what it is, or a word before it does. Amounts, dates, tickers and names of
//! companies stay. What is found, and how often it is right, by kind: `docs/privacy.md`.

mod national;
pub mod texts;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::news::NewsItem;

/// The kinds of personal data that are masked: metric labels, and in capitals the tokens.
pub const KINDS: [&str; 9] = ["email", "iban", "card", "national_id", "passport", "account", "ip", "phone", "handle"];

static EMAIL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}"));
/// Of X, Weibo, Telegram and their like: not within a word, and not "@ 5%".
static HANDLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:^|[^\w@/.])(?<value>@[A-Za-z_][A-Za-z0-9_]{1,29})\b"));
static CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}\b"));
static IBAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{2,4}){3,8}(?: ?[0-9])?\b"));
static IPV4: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b"));
static IPV6: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(?:^|[^\w:.])(?<value>(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4})(?:$|[^\w:])"));
static PASSPORT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:(?i:\bpassport|\bpasaporte|\bpasseport|\breisepass|\bpassaporto|\bpaspoort)|护照)(?i:\s+(?:holder\s+)?(?:number|no\.?|nr\.?|num\.?|numéro|número|nummer|#))?(?:号码|号)?(?:\s+(?i:is|was))?\s*[:：#]?\s*(?<value>[A-Z0-9]{6,10})\b",
    )
});
static ACCOUNT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:(?i:\baccount|\bacct|\ba/c|\bsort code|\brouting|\baba|\bkonto|\bkontonummer|\bcuenta|\bcompte)|账号|帐号|账户)\.?(?i:\s+(?:number|no\.?|nr\.?|num\.?|numéro|número|#))?(?:\s+(?i:is|was|ending(?:\s+in)?))?\s*[:：#]?\s*(?<value>[0-9]{2}-[0-9]{2}-[0-9]{2}|[0-9](?:[ -]?[0-9]){3,16})\b",
    )
});
/// With a country's code, in the forms of North America and of the UK, or behind a word that announces one.
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:^|[^\w+.,$€£¥-])(?<value>",
        r"\+[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]\)?)?(?:[ .-]?\(?[0-9]{2,5}\)?){2,5}",
        r"|(?:1[ .-])?\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}",
        r"|(?:1[ .-])?[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}|(?:1\.)?[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}",
        r"|\(?0(?:20\)? [0-9]{4} [0-9]{4}|1[0-9]{3}\)? [0-9]{6}|7[0-9]{3}\)? ?[0-9]{3} ?[0-9]{3})",
        r")(?:$|[^\w%-])"
    ))
});
static ANNOUNCED_PHONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:(?i:\b(?:tel|telephone|phone|mobile|cell|fax|hotline|whatsapp|wechat|dial|text|ring|call(?:\s+(?:us|him|her|them|me))?))|电话|手机|微信)\.?(?i:\s+(?:number|no\.?|on|at|is|to))*\s*[:：#]?\s*(?<value>\(?[0-9](?:[ .()/-]{0,2}[0-9]){6,14})\b",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern that the tests compile")
}

/// Replaces personal data in title and body by `[EMAIL]`, `[IBAN]` and so on. Returns how many of each kind.
pub fn mask(item: &mut NewsItem) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for text in [&mut item.title, &mut item.body].into_iter().flatten() {
        mask_text(text, &mut counts);
    }
    counts
}

/// Replaces personal data in one text, and counts the pieces by kind. The stricter kinds come first; what a text cannot hold for want of
/// digits or signs is not looked for.
pub fn mask_text(text: &mut String, counts: &mut BTreeMap<String, u32>) {
    let mut replace = |text: &mut String, kind: &str, pattern: &Regex, real: &dyn Fn(&str, &str) -> bool| {
        let found = replace_all(text, kind, pattern, real);
        if found > 0 {
            *counts.entry(kind.to_owned()).or_default() += found;
        }
    };
    let always = |_: &str, _: &str| true;
    if text.contains('@') {
        replace(text, "email", &EMAIL, &always);
    }
    let figures = text.bytes().filter(u8::is_ascii_digit).count();
    if figures >= 10 {
        replace(text, "iban", &IBAN, &|_, found| is_iban(found));
        replace(text, "card", &CARD, &|_, found| luhn(found) && (13..=19).contains(&digits(found).count()));
    }
    if figures >= 4 && text.contains('.') {
        replace(text, "ip", &IPV4, &|before, found| found.parse::<Ipv4Addr>().is_ok() && !numbers_a_part(before));
    }
    if text.matches(':').count() >= 2 {
        replace(text, "ip", &IPV6, &|_, found| {
            found.parse::<Ipv6Addr>().is_ok() && found.bytes().filter(u8::is_ascii_hexdigit).count() >= 4
        });
    }
    if figures >= 6 {
        replace(text, "passport", &PASSPORT, &|_, found| digits(found).count() >= 5);
        for form in national::SET.matches(text).into_iter().map(|place| &national::FORMS[place]) {
            let real = |before: &str, found: &str| {
                let compact: String = found.chars().filter(|character| !" -.+/".contains(*character)).collect::<String>().to_uppercase();
                (form.check)(&compact) && (!form.named || announces(before))
            };
            replace(text, "national_id", &form.pattern, &real);
        }
        replace(text, "phone", &PHONE, &|_, found| (8..=15).contains(&digits(found).count()));
        replace(text, "phone", &ANNOUNCED_PHONE, &|_, found| (7..=15).contains(&digits(found).count()));
    }
    if figures >= 4 {
        // A "vote on account 2014" is a budget.
        let year = |found: &str| found.len() == 4 && (found.starts_with("19") || found.starts_with("20"));
        replace(text, "account", &ACCOUNT, &|_, found| digits(found).count() >= 4 && !year(found));
    }
    if text.contains('@') {
        replace(text, "handle", &HANDLE, &always);
    }
}

/// Replaces the group `value`, or all of a match, where it is `real`: shown the text before it, and itself.
fn replace_all(text: &mut String, kind: &str, pattern: &Regex, real: &dyn Fn(&str, &str) -> bool) -> u32 {
    let mut found = 0;
    let masked = pattern.replace_all(text, |captures: &Captures<'_>| {
        let whole = captures.get(0).expect("a match");
        let value = captures.name("value").unwrap_or(whole);
        if !real(&text[..value.start()], value.as_str()) {
            return whole.as_str().to_owned();
        }
        found += 1;
        format!("{}[{}]{}", &text[whole.start()..value.start()], kind.to_ascii_uppercase(), &text[value.end()..whole.end()])
    });
    if let (Cow::Owned(masked), 1..) = (masked, found) {
        *text = masked;
    }
    found
}

/// Whether one of [`national::NAMES`] stands within the last 40 characters.
fn announces(before: &str) -> bool {
    let from = before.char_indices().rev().nth(39).map_or(0, |(place, _)| place);
    let near = before[from..].to_lowercase();
    national::NAMES.iter().any(|name| near.contains(name))
}

/// Whether the last word is of those that stand before 4.1.2.3 and mean no address.
fn numbers_a_part(before: &str) -> bool {
    let last = before.split_whitespace().next_back().unwrap_or_default().to_lowercase();
    ["section", "sec.", "version", "rule", "article", "art.", "chapter", "clause", "paragraph", "para.", "item", "§"].contains(&&*last)
}

fn digits(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.chars().filter_map(|character| character.to_digit(10))
}

/// ISO/IEC 7812: from the right, every second digit doubled, the sum of all digits divisible by 10; and not all zeros.
fn luhn(text: &str) -> bool {
    let digits: Vec<u32> = digits(text).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|&digit| digit != 0)
}

/// ISO 13616: the number with its first four characters at its end, letters as 10 to 35, leaves 1 by 97.
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

    fn masked(text: &str) -> (String, BTreeMap<String, u32>) {
        let (mut text, mut counts) = (text.to_owned(), BTreeMap::new());
        mask_text(&mut text, &mut counts);
        (text, counts)
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

    proptest::proptest! {
        /// Numbers of every length, with all that may stand between digits, behind words that announce one.
        #[test]
        fn any_text_is_masked_without_a_panic_and_every_token_is_counted(
            word in proptest::sample::select(vec!["", "PESEL ", "identity ", "passport ", "account ", "call ", "@", "+", "身份证"]),
            number in "[0-9A-Zx .:/+()-]{0,24}",
            rest in "[^\\[]{0,20}",
        ) {
            let (text, counts) = masked(&format!("{word}{number} {rest}"));
            let tokens: usize = KINDS.iter().map(|kind| text.matches(&format!("[{}]", kind.to_ascii_uppercase())).count()).sum();
            proptest::prop_assert_eq!(tokens, counts.values().sum::<u32>() as usize, "{}", text);
        }
    }
}
