//! Bytes of `news.raw` → [`NewsItem`], or a [`Rejection`] that says why the record goes to the dead letter topic.
//!
//! Pure: what "now" is comes from the record's Kafka timestamp, so a replay decides as the first reading did.

use serde_json::{Map, Value};

use crate::config::DecodeConfig;
use crate::news::{EventTime, NewsItem, text_id};

/// Why a record cannot be processed. A closed set: each is a metric label and a dead-letter header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    InvalidUtf8,
    InvalidJson,
    NotAnObject,
    InvalidField,
    NoText,
    TooLarge,
    DateOutOfRange,
    OutputTooLarge,
}

impl Reason {
    pub const ALL: [Self; 8] = [
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::NotAnObject,
        Self::InvalidField,
        Self::NoText,
        Self::TooLarge,
        Self::DateOutOfRange,
        Self::OutputTooLarge,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::InvalidField => "invalid_field",
            Self::NoText => "no_text",
            Self::TooLarge => "too_large",
            Self::DateOutOfRange => "date_out_of_range",
            Self::OutputTooLarge => "output_too_large",
        }
    }
}

/// A record that cannot be processed. `detail` names the place and the rule, never the news text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    pub detail: String,
}

fn reject(reason: Reason, detail: impl Into<String>) -> Rejection {
    Rejection { reason, detail: detail.into() }
}

/// Decodes one record. `record_time` is its Kafka timestamp: the default of `published_at`, and what its range is measured from.
///
/// # Errors
/// A [`Rejection`] for each way in which the bytes break the `news.raw` contract (`schemas/news.raw.json`).
pub fn decode(payload: &[u8], record_time: EventTime, config: &DecodeConfig) -> Result<NewsItem, Rejection> {
    if payload.len() > config.max_bytes {
        return Err(reject(Reason::TooLarge, format!("{} bytes; decode.max_bytes is {}", payload.len(), config.max_bytes)));
    }
    let text = std::str::from_utf8(payload)
        .map_err(|error| reject(Reason::InvalidUtf8, format!("not UTF-8 from byte {}", error.valid_up_to())))?;
    let value: Value = serde_json::from_str(text)
        .map_err(|error| reject(Reason::InvalidJson, format!("not JSON at line {}, column {}", error.line(), error.column())))?;
    let Value::Object(mut fields) = value else {
        return Err(reject(Reason::NotAnObject, "the record must be a JSON object"));
    };

    let title = text_field(&mut fields, "title")?;
    let body = text_field(&mut fields, "body")?;
    if title.is_none() && body.is_none() {
        return Err(reject(Reason::NoText, "neither title nor body has text"));
    }
    let id = match fields.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id).filter(|id| !id.trim().is_empty()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(other) => return Err(wrong_type("id", "a string", &other)),
    };
    let published_at = match fields.remove("published_at") {
        None | Some(Value::Null) => record_time,
        Some(value) => published_at(&value)?,
    };
    let (oldest, newest) = (record_time.plus(-config.max_age.ms()), record_time.plus(config.max_ahead.ms()));
    if published_at < oldest || published_at > newest {
        return Err(reject(
            Reason::DateOutOfRange,
            format!("published_at {published_at} is outside {oldest} to {newest} (decode.max_age, decode.max_ahead)"),
        ));
    }
    let symbols = match fields.remove("symbols") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => values
            .into_iter()
            .map(|value| match value {
                Value::String(symbol) => Ok(symbol),
                other => Err(wrong_type("symbols", "an array of strings", &other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong_type("symbols", "an array of strings", &other)),
    };
    let id = id.unwrap_or_else(|| text_id(title.as_deref(), body.as_deref()));
    Ok(NewsItem {
        id,
        published_at,
        source: text_field(&mut fields, "source")?,
        url: text_field(&mut fields, "url")?,
        lang: text_field(&mut fields, "lang")?,
        title,
        body,
        symbols,
        extra: fields,
    })
}

/// A string field with its white space collapsed; `None` where it is absent, null or blank.
fn text_field(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Rejection> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let clean = collapse(text);
            Ok(Some(clean).filter(|clean| !clean.is_empty()))
        }
        Some(other) => Err(wrong_type(name, "a string", &other)),
    }
}

/// One space for each run of white space, and none at the ends. Most texts are so already.
fn collapse(text: String) -> String {
    let bytes = text.as_bytes();
    let plain = bytes.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic());
    let spaced = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ') || bytes.windows(2).any(|pair| pair == b"  ");
    if plain && !spaced { text } else { text.split_whitespace().collect::<Vec<_>>().join(" ") }
}

fn wrong_type(name: &str, wanted: &str, got: &Value) -> Rejection {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    reject(Reason::InvalidField, format!("{name} must be {wanted}, not {got}"))
}

/// RFC 3339, or epoch milliseconds as a number.
fn published_at(value: &Value) -> Result<EventTime, Rejection> {
    let parsed = match value {
        Value::String(text) => EventTime::parse(text.trim()),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|ms| ms as i64)).map(EventTime),
        other => return Err(wrong_type("published_at", "RFC 3339 text or epoch milliseconds", other)),
    };
    parsed.ok_or_else(|| reject(Reason::InvalidField, "published_at is neither RFC 3339 nor epoch milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const NOW: EventTime = EventTime(1_700_000_000_000);

    fn reason(payload: &[u8]) -> Reason {
        decode(payload, NOW, &Config::default().decode).unwrap_err().reason
    }

    #[test]
    fn white_space_is_collapsed_whether_or_not_there_is_any_to_collapse() {
        for text in ["", " ", "one", "one two", " one", "one ", "one  two", "one\ttwo", "one\u{a0}two", "Zürich  —\u{2009}up", "Zürich up"]
        {
            assert_eq!(collapse(text.to_owned()), text.split_whitespace().collect::<Vec<_>>().join(" "), "{text:?}");
        }
    }

    fn item(payload: &str) -> NewsItem {
        decode(payload.as_bytes(), NOW, &Config::default().decode).unwrap()
    }

    #[test]
    fn each_kind_of_bad_record_has_its_reason() {
        assert_eq!(reason(b"{\"title\":\"\xff\"}"), Reason::InvalidUtf8);
        assert_eq!(reason(b"{\"title\":"), Reason::InvalidJson);
        assert_eq!(reason(b""), Reason::InvalidJson);
        assert_eq!(reason(b"[1,2]"), Reason::NotAnObject);
        assert_eq!(reason(b"{\"title\":7}"), Reason::InvalidField);
        assert_eq!(reason(b"{\"title\":\"a\",\"symbols\":\"b\"}"), Reason::InvalidField);
        assert_eq!(reason(b"{\"title\":\"a\",\"published_at\":\"yesterday\"}"), Reason::InvalidField);
        assert_eq!(reason(b"{\"title\":\" \\n \",\"body\":null}"), Reason::NoText);
        assert_eq!(reason(&vec![b' '; Config::default().decode.max_bytes + 1]), Reason::TooLarge);
        assert_eq!(reason(b"{\"title\":\"a\",\"published_at\":\"2999-01-01T00:00:00Z\"}"), Reason::DateOutOfRange);
        assert_eq!(reason(b"{\"title\":\"a\",\"published_at\":0}"), Reason::DateOutOfRange);
        assert_eq!(reason(b"{\"title\":\"a\",\"published_at\":1e300}"), Reason::DateOutOfRange);
    }

    #[test]
    fn a_rejection_never_quotes_the_text() {
        let rejection = decode(br#"{"title":"secret merger", "symbols": {"secret": 1}}"#, NOW, &Config::default().decode).unwrap_err();
        assert!(!rejection.detail.contains("secret"), "{}", rejection.detail);
    }

    #[test]
    fn id_defaults_to_a_hash_of_the_text_and_time_to_the_record() {
        let (one, two) = (item(r#"{"title":"Rates  rise"}"#), item(r#"{"title":"Rates rise","source":"x"}"#));
        assert_eq!(one.id, two.id);
        assert_eq!(one.id.len(), 32);
        assert_ne!(one.id, item(r#"{"body":"Rates rise"}"#).id);
        assert_eq!(one.published_at, NOW);
    }

    #[test]
    fn unknown_fields_pass_through_in_order() {
        let item = item(r#"{"z":1,"title":"t","a":{"b":[2]},"id":5}"#);
        assert_eq!(serde_json::to_string(&item.extra).unwrap(), r#"{"z":1,"a":{"b":[2]}}"#);
        assert_eq!(item.id, "5");
    }

    #[test]
    fn title_and_body_become_one_passage() {
        assert_eq!(item(r#"{"title":"Bank fails","body":"Depositors queue."}"#).text(), "Bank fails. Depositors queue.");
        assert_eq!(item(r#"{"title":"Bank fails?","body":"No."}"#).text(), "Bank fails? No.");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_item_or_a_rejection(bytes: Vec<u8>) {
            let _ = decode(&bytes, NOW, &Config::default().decode);
        }
    }
}
