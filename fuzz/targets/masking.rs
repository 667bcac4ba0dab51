//! Masking: any text comes out as a text, with kinds that are known and as many tokens as it counts.
#![no_main]

use bellwether::news::{EventTime, NewsItem};
use bellwether::privacy::{KINDS, mask};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut item = NewsItem {
        id: "1".into(),
        published_at: EventTime(0),
        title: None,
        body: Some(text.to_owned()),
        source: None,
        url: None,
        symbols: Vec::new(),
        lang: None,
        extra: serde_json::Map::new(),
    };
    let counts = mask(&mut item);
    let masked = item.body.expect("a text stays one");
    for (kind, count) in &counts {
        assert!(KINDS.contains(&kind.as_str()));
        let token = format!("[{}]", kind.to_ascii_uppercase());
        assert!(masked.matches(&token).count() >= *count as usize, "{count} {token} in {masked:?}");
    }
    assert!(!counts.is_empty() || masked == text, "{text:?} became {masked:?} and nothing was counted");
});
