//! A stream of observations, made by arithmetic: the same in every run.

use bellwether::news::{EventTime, ItemObservation, Observation, SCHEMA_VERSION, Score, Sentiment, Subject, WatermarkObservation};

const SYLLABLES: [&str; 16] =
    ["har", "fen", "sal", "quar", "lark", "dun", "or", "kes", "brack", "iron", "tarn", "wex", "mil", "cor", "vel", "sto"];
const VERBS: [&str; 24] = [
    "halts", "cuts", "defends", "suspends", "raises", "misses", "beats", "delays", "recalls", "sells", "buys", "closes", "opens",
    "reviews", "scraps", "restates", "extends", "faces", "settles", "denies", "confirms", "drops", "wins", "loses",
];
const OBJECTS: [&str; 32] = [
    "withdrawals",
    "its dividend",
    "full-year outlook",
    "lawsuit over bond losses",
    "bid for rival",
    "new plant in Ohio",
    "loan growth target",
    "car recall",
    "chief risk officer",
    "quarterly profit",
    "cloud contract",
    "drug trial",
    "pipeline stake",
    "audit of reserves",
    "store network",
    "credit line",
    "rights issue",
    "mining licence",
    "tax inquiry",
    "chip orders",
    "merger talks",
    "cost programme",
    "pension deficit",
    "supply deal",
    "data breach",
    "share buyback",
    "insurance claims",
    "debt covenant",
    "property unit",
    "refinery",
    "freight rates",
    "rate bets",
];
const REASONS: [&str; 24] = [
    "regulators say",
    "as savers queue",
    "in second blow this week",
    "after audit",
    "on rate fears",
    "in early trade",
    "people familiar say",
    "filing shows",
    "amid strike",
    "as demand weakens",
    "despite rally",
    "citing costs",
    "under pressure from funds",
    "after storm",
    "for third time",
    "as rivals gain",
    "on strong dollar",
    "ahead of vote",
    "following leak",
    "as oil climbs",
    "with immediate effect",
    "court papers show",
    "after downgrade",
    "as orders dry up",
];

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Items about so many subjects, in order of event time.
pub struct Stream {
    names: Vec<Subject>,
    /// Of event time.
    per_second: f64,
    /// Every subject in turn; otherwise half of all items are about some tenth of the subjects, as news is.
    in_turn: bool,
}

impl Stream {
    pub fn new(subjects: usize, per_second: f64, in_turn: bool) -> Self {
        Self { names: (0..subjects).map(|number| Subject::entity(&format!("company-{number}"))).collect(), per_second, in_turn }
    }

    pub fn names(&self) -> &[Subject] {
        &self.names
    }

    /// One in four is negative, one in eight tells a story once more that came shortly before.
    pub fn item(&self, index: usize) -> Observation {
        let random = mix(index as u64);
        let place = (random % 1_000_003) as f64 / 1_000_003.0;
        let place = if random >> 60 & 1 == 0 { place.powi(4) } else { place };
        let subject = if self.in_turn { index % self.names.len() } else { (place * self.names.len() as f64) as usize };
        let small = (random >> 30 & 0xffff) as i64;
        let (sentiment, score) = match random >> 20 & 3 {
            0 => (Sentiment::Negative, -500_000 - small * 6),
            1 | 2 => (Sentiment::Neutral, small - 32_768),
            _ => (Sentiment::Positive, 500_000 + small * 6),
        };
        let story = if random >> 40 & 7 == 0 { mix(index as u64 - (index as u64).min(random >> 50 & 63)) } else { random };
        let pick = |list: &[&'static str], shift: u32| list[(story >> shift) as usize % list.len()];
        let company = mix(subject as u64);
        let syllable = |shift: u32| SYLLABLES[(company >> shift) as usize % SYLLABLES.len()];
        let name = format!("{}{}{}", syllable(0).to_uppercase(), syllable(8), syllable(16));
        let mut title = format!("{name} {} {} {}", pick(&VERBS, 3), pick(&OBJECTS, 11), pick(&REASONS, 19));
        if story >> 33 & 3 == 0 {
            title.push_str(&format!(", shares move {}%", story >> 27 & 63));
        }
        Observation::Item(ItemObservation {
            schema: SCHEMA_VERSION,
            subject: self.names[subject].clone(),
            id: format!("{random:016x}"),
            event_time_ms: (index as f64 * 1000.0 / self.per_second) as i64,
            topic: "Macro".into(),
            sentiment,
            score: Score(score),
            source: Some(format!("wire-{}.example", random >> 33 & 31)),
            title: Some(title),
            url: Some(format!("https://wire.example/{random:x}")),
            sketch: None,
            model: None,
            subjects: Vec::new(),
        })
    }

    /// Numbers of the items that come before `ms`.
    pub fn until(&self, ms: i64) -> usize {
        (ms as f64 * self.per_second / 1000.0).ceil() as usize
    }
}

pub fn watermark(at: EventTime) -> Observation {
    Observation::Watermark(WatermarkObservation {
        schema: SCHEMA_VERSION,
        raw_partition: 0,
        raw_partitions: 1,
        watermark_ms: Some(at.0),
        idle: false,
        market: Vec::new(),
    })
}
