//! Masking: any text comes out as a text, with kinds that are known and as many tokens as it counts.
#![no_main]

use std::collections::BTreeMap;

use bellwether::privacy::{KINDS, mask_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (mut masked, mut counts) = (text.to_owned(), BTreeMap::new());
    mask_text(&mut masked, &mut counts);
    for (kind, count) in &counts {
        assert!(KINDS.contains(&kind.as_str()));
        let token = format!("[{}]", kind.to_ascii_uppercase());
        assert!(masked.matches(&token).count() >= *count as usize, "{count} {token} in {masked:?}");
    }
    assert!(!counts.is_empty() || masked == text, "{text:?} became {masked:?} and nothing was counted");
});
