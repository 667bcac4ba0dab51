//! A series for `bellwether detect`: any bytes are rows or an error that names the line, and every score lies between 0 and 1.
#![no_main]

use std::path::Path;

use bellwether::cli::detect::{detect, new_series};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut output = Vec::new();
    let _ = detect(new_series(), Path::new("-"), bytes, &mut output);
    let text = String::from_utf8(output).expect("CSV is text");
    for row in text.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let score: f64 = fields[fields.len() - 2].parse().expect("a score");
        assert!((0.0..=1.0).contains(&score) && ["0", "1"].contains(&fields[fields.len() - 1]), "{row}");
    }
});
