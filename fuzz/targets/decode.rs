//! A record of `news.raw`: any bytes are an item or a rejection, and an item has text and stays what it is when it is read again.
#![no_main]

use std::sync::LazyLock;

use bellwether::config::Config;
use bellwether::decode::decode;
use bellwether::news::EventTime;
use libfuzzer_sys::fuzz_target;

static CONFIG: LazyLock<Config> = LazyLock::new(Config::default);

fuzz_target!(|payload: &[u8]| {
    let now = EventTime(1_773_160_500_000);
    if let Ok(item) = decode(payload, now, &CONFIG.decode) {
        assert!(!item.text().trim().is_empty() && !item.id.is_empty());
        assert!(item.published_at <= now.plus(CONFIG.decode.max_ahead.ms()));
        assert_eq!(decode(payload, now, &CONFIG.decode).as_ref().ok(), Some(&item));
    }
});
