//! The document of a feed: any bytes are entries or no feed, and an entry has text within its bounds and leads nowhere but to the web.
#![no_main]

use std::sync::LazyLock;

use bellwether::ingest::document::{BODY_CHARACTERS, MAX_ENTRIES, TITLE_CHARACTERS, read};
use libfuzzer_sys::fuzz_target;
use url::Url;

static BASE: LazyLock<Url> = LazyLock::new(|| Url::parse("https://wire.example/feeds/markets").expect("a constant address"));
const TYPES: [Option<&str>; 4] = [None, Some("text/xml; charset=utf-8"), Some("application/rss+xml; charset=windows-1252"), Some("text/xml; charset=utf-16")];

fuzz_target!(|input: &[u8]| {
    let Some((kind, document)) = input.split_first() else { return };
    let Ok(entries) = read(document, TYPES[usize::from(*kind) % TYPES.len()], &BASE) else { return };
    assert!(entries.len() <= MAX_ENTRIES);
    for entry in entries {
        assert!(!entry.id.is_empty() && !(entry.title.is_empty() && entry.body.is_empty()), "{entry:?}");
        assert!(entry.title.chars().count() <= TITLE_CHARACTERS && entry.body.chars().count() <= BODY_CHARACTERS, "{entry:?}");
        let to_the_web = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        assert!(entry.url.as_ref().is_none_or(to_the_web), "{entry:?}");
    }
});
