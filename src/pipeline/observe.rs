//! An item on its way from news to its subjects: what the model may see of it, and what each subject is told. Pure; the classifier and
//! the back-test do the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, TextMode};
use crate::enrich::{Mentions, Watchlist};
use crate::news::{ItemObservation, ModelIdentity, NewsItem, SCHEMA_VERSION, Score, Sentiment, Subject, SubjectKind};
use crate::novelty::Sketch;
use crate::privacy::{self, texts::Texts};

/// An item as the model may see it: the watchlist has looked at its text, then personal data was masked.
pub struct Ready {
    pub item: NewsItem,
    /// Pieces of personal data replaced, by kind.
    pub masked: BTreeMap<String, u32>,
    pub mentions: Mentions,
}

impl Ready {
    pub fn new(mut item: NewsItem, config: &Config, watchlist: &Watchlist) -> Self {
        let mentions = watchlist.mentions(&item);
        let masked = if config.privacy.text != TextMode::Full { privacy::mask(&mut item) } else { BTreeMap::new() };
        Self { item, masked, mentions }
    }
}

/// What the model said of an item, as far as its subjects count it.
#[derive(Clone, Copy)]
pub struct Judged<'item> {
    pub topic: &'item str,
    pub sentiment: Sentiment,
    pub score: Score,
    /// `None` where the score came with the item.
    pub model: Option<&'item Arc<ModelIdentity>>,
}

/// A headline on its way to a monitor.
pub struct Headline {
    title: Option<String>,
    /// Where the monitor cannot read what copies are told by.
    sketch: Option<Sketch>,
}

impl Headline {
    /// As anybody may read it.
    pub fn open(title: Option<&str>) -> Self {
        Self { title: title.map(cut_title), sketch: None }
    }

    /// As the configuration lets it leave.
    pub fn outward(id: &str, title: Option<&str>, texts: &Texts) -> Self {
        if texts.are_readable() {
            return Self::open(title);
        }
        let title = title.map(cut_title);
        let sketch = title.as_deref().and_then(Sketch::of);
        Self { title: title.and_then(|title| texts.outward(id, "title", &title)), sketch }
    }
}

/// The item as each of its subjects sees it.
pub fn observe<'item>(
    item: &'item NewsItem,
    headline: &'item Headline,
    subjects: &'item [Subject],
    judged: Judged<'item>,
) -> impl Iterator<Item = ItemObservation> + 'item {
    let others = |subject: &Subject| subjects.iter().filter(|other| *other != subject).cloned().collect();
    subjects.iter().map(move |subject| ItemObservation {
        schema: SCHEMA_VERSION,
        subject: subject.clone(),
        id: item.id.clone(),
        event_time_ms: item.published_at.0,
        topic: judged.topic.to_owned(),
        sentiment: judged.sentiment,
        score: judged.score,
        source: item.source.clone(),
        title: headline.title.clone(),
        sketch: headline.sketch.clone(),
        url: item.url.clone(),
        model: judged.model.cloned(),
        subjects: if subject.kind() == SubjectKind::Market { others(subject) } else { Vec::new() },
    })
}

/// A headline for evidence: at most 500 characters, whatever was sent as a title.
fn cut_title(title: &str) -> String {
    let end = title.char_indices().nth(500).map_or(title.len(), |(end, _)| end);
    title[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::news::EventTime;

    #[test]
    fn personal_data_is_masked_for_the_model_unless_texts_are_to_stay_as_they_came() {
        let ready = |mode: &str| {
            let config = Config::from_toml(&format!("[privacy]\ntext = '{mode}'"), &[], None).unwrap();
            let item = decode(br#"{"title":"Write to jo@desk.example"}"#, EventTime(0), &config.decode).unwrap();
            Ready::new(item, &config, &Watchlist::empty())
        };
        for mode in ["masked", "none"] {
            let Ready { item, masked, .. } = ready(mode);
            assert_eq!((item.text().as_str(), masked), ("Write to [EMAIL]", [("email".to_owned(), 1)].into()), "{mode}");
        }
        let Ready { item, masked, .. } = ready("full");
        assert_eq!((item.text().as_str(), masked.len()), ("Write to jo@desk.example", 0));
    }

    #[test]
    fn a_headline_that_a_monitor_cannot_read_brings_what_copies_are_told_by() {
        let texts = |mode| Texts::open(&crate::config::PrivacyConfig { text: mode, keys: "".into() }).unwrap();
        let headline = |mode| Headline::outward("a", Some("Harbour Bank fails"), &texts(mode));
        let (open, silent) = (headline(TextMode::Masked), headline(TextMode::None));
        assert_eq!((open.title.as_deref(), open.sketch), (Some("Harbour Bank fails"), None));
        assert_eq!((silent.title, silent.sketch), (None, Sketch::of("Harbour Bank fails")));
    }
}
