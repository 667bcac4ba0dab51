//! A configuration and a watchlist: any text is one, or problems; what is in force reads back as itself.
#![no_main]

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = Watchlist::parse(text) {
        assert!(!problems.is_empty());
    }
    // Files of the machine are not what is tried here.
    if text.contains('/') {
        return;
    }
    match Config::from_toml(text, &[], None) {
        Ok(config) => {
            let shown = config.display();
            if !shown.contains("***") {
                assert_eq!(Config::from_toml(&shown, &[], None).expect("what is in force is valid").display(), shown);
            }
        }
        Err(problems) => assert!(!problems.0.is_empty()),
    }
});
