//! National identity numbers: what they look like, and their check digits or dates.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::{digits, luhn, pattern};

/// A form of number, and what a number of that form must keep to.
pub(super) struct Form {
    pub pattern: LazyLock<Regex>,
    /// Given the number without spaces, hyphens, dots and slashes, in capitals.
    pub check: fn(&str) -> bool,
    /// Only behind a word that says what it is: the form is that of ordinary figures.
    pub named: bool,
}

macro_rules! forms {
    ($($pattern:literal, $check:expr, $named:literal;)*) => {
        [$(Form { pattern: LazyLock::new(|| pattern($pattern)), check: $check, named: $named }),*]
    };
}

/// Words before a number that make it an identity number: [`Form::named`]. In small letters.
pub(super) const NAMES: [&str; 40] = [
    "identity",
    "national id",
    "id card",
    "id number",
    "id no",
    "personal code",
    "personal number",
    "personal id",
    "tax id",
    "tax number",
    "social security",
    "ssn",
    "insurance number",
    "dni",
    "nie",
    "nif",
    "codice",
    "steuer",
    "idnr",
    "pesel",
    "bsn",
    "burgerservice",
    "rijksregister",
    "personnummer",
    "cpr",
    "pps",
    "svnr",
    "versicherung",
    "rodn",
    "taj",
    "cnp",
    "egn",
    "oib",
    "emšo",
    "emso",
    "amka",
    "isikukood",
    "asmens",
    "matricule",
    "身份证",
];

/// By country: the US, the UK, China, and those of the EU.
pub(super) static FORMS: [Form; 26] = forms! {
    // US social security number: area, group and serial are never all zeros, an area is not 666 or 900 and up.
    r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", us, false;
    // UK national insurance number.
    r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b", uk, false;
    // China, GB 11643: ISO 7064 mod 11-2.
    r"\b[1-9][0-9]{16}[0-9Xx]\b", china, false;
    // Spain, DNI and NIE: a letter by the remainder of 23.
    r"\b[XYZ0-9][0-9]{7}-?[A-HJ-NP-TV-Z]\b", spain, false;
    // Italy, codice fiscale.
    r"\b[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]\b", italy, false;
    // France, NIR: 97 less the remainder of 97.
    r"\b[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b", france, false;
    // Germany's tax identification and Croatia's OIB: ISO 7064 mod 11,10.
    r"\b[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}\b", mod_11_10, true;
    // Poland, PESEL.
    r"\b[0-9]{11}\b", |number| weighed(number, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10), true;
    // Belgium, national register number.
    r"\b[0-9]{2}\.?[0-9]{2}\.?[0-9]{2}-?[0-9]{3}[.-]?[0-9]{2}\b", belgium, true;
    // Estonia and Lithuania.
    r"\b[1-6][0-9]{10}\b", baltic, true;
    // Greece, AMKA: a date and a Luhn digit.
    r"\b[0-3][0-9][01][0-9]{8}\b", |number| day_month(&number[..4]) && luhn(number), true;
    // Netherlands, BSN, by its 11 test.
    r"\b[0-9]{9}\b", |number| digits(number).zip([9, 8, 7, 6, 5, 4, 3, 2, -1]).map(|(digit, weight)| digit as i32 * weight).sum::<i32>() % 11 == 0, true;
    // Portugal, NIF.
    r"\b[1-35689][0-9]{8}\b", portugal, true;
    // Hungary, TAJ.
    r"\b[0-9]{3} ?[0-9]{3} ?[0-9]{3}\b", |number| weighed(&number[..8], &[3, 7, 3, 7, 3, 7, 3, 7]) % 10 == last(number), true;
    // Sweden: a date and a Luhn digit.
    r"\b(?:19|20)?[0-9]{6}[-+][0-9]{4}\b", |number| { let short = &number[number.len() - 10..]; month_day(&short[2..6]) && luhn(short) }, false;
    // Finland: a date, and a character by the remainder of 31.
    r"\b[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]\b", finland, false;
    // Denmark, CPR: a date.
    r"\b[0-3][0-9][01][0-9]{3}-[0-9]{4}\b", |number| day_month(&number[..4]), true;
    // Latvia: a date.
    r"\b[0-3][0-9][01][0-9]{3}-[0-9]{5}\b", |number| day_month(&number[..4]) || number.starts_with("32"), true;
    // Ireland, PPS number: a letter by the remainder of 23.
    r"\b[0-9]{7}[A-W][A-IW]?\b", ireland, false;
    // Austria, social insurance number.
    r"\b[1-9][0-9]{3} ?[0-3][0-9][01][0-9]{3}\b", austria, true;
    // The Czech Republic and Slovakia: divisible by 11.
    r"\b[0-9]{2}[0-35-8][0-9][0-3][0-9]/?[0-9]{4}\b", czech, true;
    // Romania, CNP.
    r"\b[1-8][0-9]{2}[01][0-9][0-3][0-9]{7}\b", romania, false;
    // Slovenia, EMŠO.
    r"\b[0-3][0-9][01][0-9]{10}\b", slovenia, false;
    // Bulgaria, EGN.
    r"\b[0-9]{10}\b", |number| weighed(&number[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == last(number), true;
    // Luxembourg: a date, a Luhn digit over twelve, and a Verhoeff digit, which is left alone.
    r"\b(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]{6}\b", |number| month_day(&number[4..8]) && luhn(&number[..12]), false;
    // Malta and Cyprus: digits and a letter.
    r"\b[0-9]{7,8}[A-Z]\b", |_| true, true;
};

/// All patterns of [`FORMS`] in one pass: most texts have none of them.
pub(super) static SET: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(FORMS.iter().map(|form| form.pattern.as_str())).expect("each is a pattern by itself"));

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

/// Σ digit × weight.
fn weighed(text: &str, weights: &[u32]) -> u32 {
    digits(text).zip(weights).map(|(digit, weight)| digit * weight).sum()
}

fn last(text: &str) -> u32 {
    digits(text).last().unwrap_or_default()
}

/// `MMDD`.
fn month_day(text: &str) -> bool {
    (1..=12).contains(&number(&text[..2])) && (1..=31).contains(&number(&text[2..]))
}

/// `DDMM`.
fn day_month(text: &str) -> bool {
    (1..=31).contains(&number(&text[..2])) && (1..=12).contains(&number(&text[2..]))
}

fn us(text: &str) -> bool {
    let (area, group, serial) = (number(&text[..3]), number(&text[3..5]), number(&text[5..]));
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

fn uk(text: &str) -> bool {
    !["BG", "GB", "NK", "KN", "TN", "NT", "ZZ"].contains(&&text[..2])
}

fn china(text: &str) -> bool {
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let check = b"10X98765432"[weighed(&text[..17], &weights) as usize % 11];
    (1900..2100).contains(&number(&text[6..10])) && month_day(&text[10..14]) && text.as_bytes()[17] == check
}

fn spain(text: &str) -> bool {
    let first = match text.as_bytes()[0] {
        b'X' => "0",
        b'Y' => "1",
        b'Z' => "2",
        _ => &text[..1],
    };
    let letter = b"TRWAGMYFPDXBNJZSQVHLCKE"[number(&format!("{first}{}", &text[1..8])) as usize % 23];
    text.as_bytes()[8] == letter
}

/// Odd places, from one, by the table of the decree of 23 December 1976; even places by their value.
fn italy(text: &str) -> bool {
    const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let sum: u32 =
        text.bytes().take(15).enumerate().map(|(place, byte)| if place % 2 == 0 { ODD[value(byte) as usize] } else { value(byte) }).sum();
    value(text.as_bytes()[15]) == sum % 26
}

fn france(text: &str) -> bool {
    // Corsica's departments count as 19 and 18.
    let body = text[..13].replacen("2A", "19", 1).replacen("2B", "18", 1);
    let month = number(&text[3..5]);
    (1..=12).contains(&month) && 97 - number(&body) % 97 == number(&text[13..])
}

fn mod_11_10(text: &str) -> bool {
    let product = digits(&text[..10]).fold(10, |product, digit| match (digit + product) % 10 {
        0 => 9,
        sum => sum * 2 % 11,
    });
    (11 - product) % 10 == last(text)
}

fn belgium(text: &str) -> bool {
    let (body, check) = (number(&text[..9]), number(&text[9..]));
    // Who was born in 2000 or later has a 2 in front.
    number(&text[2..4]) <= 12 && [body, 2_000_000_000 + body].iter().any(|body| 97 - body % 97 == check)
}

fn baltic(text: &str) -> bool {
    let first = weighed(&text[..10], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    let second = weighed(&text[..10], &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10;
    month_day(&text[3..7]) && if first < 10 { first } else { second } == last(text)
}

fn portugal(text: &str) -> bool {
    let rest = weighed(&text[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    (if rest < 2 { 0 } else { 11 - rest }) == last(text)
}

fn finland(text: &str) -> bool {
    // The sign between, where it is a letter, is still there; a hyphen or plus was taken out.
    let digits: String = text[..text.len() - 1].chars().filter(char::is_ascii_digit).collect();
    let check = b"0123456789ABCDEFHJKLMNPRSTUVWXY"[number(&digits) as usize % 31];
    digits.len() == 9 && day_month(&text[..4]) && text.as_bytes()[text.len() - 1] == check
}

fn ireland(text: &str) -> bool {
    let second = text.as_bytes().get(8).map_or(0, |&byte| if byte == b'W' { 0 } else { u32::from(byte - b'A') + 1 });
    let rest = (weighed(&text[..7], &[8, 7, 6, 5, 4, 3, 2]) + 9 * second) % 23;
    text.as_bytes()[7] == if rest == 0 { b'W' } else { b'A' + rest as u8 - 1 }
}

fn austria(text: &str) -> bool {
    let body = format!("{}{}", &text[..3], &text[4..]);
    day_month(&text[4..8]) && weighed(&body, &[3, 7, 9, 5, 8, 4, 2, 1, 6]) % 11 == number(&text[3..4]) as u32
}

fn czech(text: &str) -> bool {
    let month = number(&text[2..4]) % 50;
    (1..=12).contains(&(month % 20)) && (1..=31).contains(&number(&text[4..6])) && number(text).is_multiple_of(11)
}

fn romania(text: &str) -> bool {
    let rest = weighed(&text[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    month_day(&text[3..7]) && if rest == 10 { 1 } else { rest } == last(text)
}

fn slovenia(text: &str) -> bool {
    let rest = 11 - weighed(&text[..12], &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    day_month(&text[..4]) && matches!(&text[4..5], "9" | "0") && if rest > 9 { 0 } else { rest } == last(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::privacy::mask_text;

    fn is_masked(text: &str) -> bool {
        let (mut text, mut counts) = (text.to_owned(), BTreeMap::new());
        mask_text(&mut text, &mut counts);
        counts.contains_key("national_id")
    }

    /// A number made up for each country, another that breaks its rule, and whether a word must say what it is. python-stdnum finds
    /// the former ones valid, where it knows the country's.
    #[test]
    fn each_country_has_its_form() {
        let numbers = [
            ("US", "431-26-0181", "431-00-0181", false),
            ("UK", "AB 12 34 56 C", "BG 12 34 56 C", false),
            ("China", "110105195810128301", "110105195810128302", false),
            ("Spain, DNI", "56355150K", "56355150L", false),
            ("Spain, NIE", "X0868288S", "X0868288T", false),
            ("Italy", "KLLNNA64D09H501N", "KLLNNA64D09H501P", false),
            ("France", "2 82 06 75 068 831 06", "2 82 06 75 068 831 07", false),
            ("Germany", "14 632 778 077", "14 632 778 078", true),
            ("Croatia", "05446290429", "05446290428", true),
            ("Poland", "79081833490", "79081833491", true),
            ("Belgium", "80.05.01-851.58", "80.05.01-851.59", true),
            ("Estonia", "39112222406", "39112222407", true),
            ("Lithuania", "48006107242", "48006107243", true),
            ("Greece", "16026359063", "16026359065", true),
            ("Netherlands", "639815583", "639815584", true),
            ("Portugal", "265650933", "265650934", true),
            ("Hungary", "081 547 115", "081 547 116", true),
            ("Sweden", "620203-7286", "620203-7287", false),
            ("Finland", "021164-553H", "021164-553J", false),
            ("Denmark", "010389-4841", "011389-4841", true),
            ("Latvia", "020489-15779", "021389-15779", true),
            ("Ireland", "6105138Q", "6105138R", false),
            ("Ireland, two letters", "3298084LA", "3298084MA", false),
            ("Austria", "4525 060477", "4526 060477", true),
            ("Czech Republic, Slovakia", "671026/2680", "671026/2681", true),
            ("Romania", "1610301379451", "1610301379452", false),
            ("Slovenia", "1807948502970", "1807948502971", false),
            ("Bulgaria", "9505261470", "9505261471", true),
            ("Luxembourg", "1971092641217", "1971092641227", false),
            ("Malta", "0123478M", "", true),
            ("Cyprus", "00123478T", "", true),
        ];
        for (country, good, bad, named) in numbers {
            assert!(is_masked(&format!("The identity number {good} was in the file")), "{country}");
            let before = if named { "The identity number" } else { "The file" };
            assert!(bad.is_empty() || !is_masked(&format!("{before} {bad} was found")), "{country}: {bad}");
            assert_eq!(is_masked(&format!("A file with {good} in it")), !named, "{country}");
        }
    }
}
