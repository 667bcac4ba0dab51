//! What a webhook was not told because its subject was silenced. It travels as the metadata of the offset that is committed, so
//! that the next process, or another one, tells it when the silence is over.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::detect::AlertRecord;
use crate::detect::life::Transition;
use crate::kafka::consumer::Record;
use crate::news::Subject;

/// Alerts of one partition. Eight characters each, and brokers take 4,096 bytes of metadata by default.
const MOST: usize = 400;
const FORM: &str = "withheld:";
const MARK_BYTES: usize = 6;

/// An alert in short: the beginning of its id's hash.
type Mark = [u8; MARK_BYTES];

fn mark(id: &str) -> Mark {
    Sha256::digest(id)[..MARK_BYTES].try_into().expect("a hash is longer")
}

/// What becomes of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Tell,
    /// Until its subject is no longer silenced.
    Withhold,
    /// The end of an alert that nobody was told of.
    Leave,
}

#[derive(Debug)]
struct Alert {
    /// The webhook was told of it before.
    heard: bool,
    /// Its last transition. `None` where the topic has a later one only, which comes yet.
    last: Option<(Subject, Record)>,
}

/// By partition and alert.
#[derive(Debug, Default)]
pub struct Withheld(BTreeMap<(i32, Mark), Alert>);

impl Withheld {
    /// `silenced`: whether its subject is, now.
    pub fn verdict(&self, partition: i32, alert: &AlertRecord, silenced: bool) -> Verdict {
        let place = (partition, mark(&alert.id));
        let known = self.0.get(&place);
        match alert.transition {
            Transition::Resolved if known.is_some_and(|known| !known.heard) => Verdict::Leave,
            Transition::Resolved => Verdict::Tell,
            _ if silenced && (known.is_some() || self.of(partition).count() < MOST) => Verdict::Withhold,
            _ => Verdict::Tell,
        }
    }

    /// `heard`: the webhook was told of the alert, unless something of it is withheld already.
    pub fn keep(&mut self, alert: &AlertRecord, record: Record, heard: bool) {
        let known = self.0.entry((record.partition, mark(&alert.id))).or_insert(Alert { heard, last: None });
        known.last = Some((alert.subject.clone(), record));
    }

    /// Nothing of this alert is withheld any more; whether something was.
    pub fn settle(&mut self, partition: i32, alert: &AlertRecord) -> bool {
        self.0.remove(&(partition, mark(&alert.id))).is_some()
    }

    /// What may be told now, the oldest first.
    pub fn due(&self, is_silenced: impl Fn(&Subject) -> bool) -> Option<&Record> {
        let last = self.0.values().filter_map(|alert| alert.last.as_ref());
        let due = last.filter(|(subject, _)| !is_silenced(subject)).map(|(_, record)| record);
        due.min_by_key(|record| (record.time, record.offset))
    }

    pub fn forget(&mut self, partitions: &[i32]) {
        self.0.retain(|(partition, _), _| !partitions.contains(partition));
    }

    fn of(&self, partition: i32) -> impl Iterator<Item = (&Mark, &Alert)> {
        self.0.range((partition, Mark::default())..=(partition, [u8::MAX; MARK_BYTES])).map(|((_, mark), alert)| (mark, alert))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of one partition, for a commit: first the alerts that nobody was told of, then the others.
    pub fn metadata(&self, partition: i32) -> String {
        let marks = |heard: bool| {
            let marks: Vec<u8> = self.of(partition).filter(|(_, alert)| alert.heard == heard).flat_map(|(mark, _)| *mark).collect();
            URL_SAFE_NO_PAD.encode(marks)
        };
        match self.of(partition).next() {
            Some(_) => format!("{FORM}{}.{}", marks(false), marks(true)),
            None => String::new(),
        }
    }

    /// Takes over what was committed; the records themselves come by [`Self::recall`]. Metadata of another form says nothing.
    pub fn restore(&mut self, partition: i32, metadata: &str) {
        let Some((unheard, heard)) = metadata.strip_prefix(FORM).and_then(|marks| marks.split_once('.')) else { return };
        for (marks, heard) in [(unheard, false), (heard, true)] {
            for mark in URL_SAFE_NO_PAD.decode(marks).unwrap_or_default().chunks_exact(MARK_BYTES) {
                let mark = mark.try_into().expect("chunks have this length");
                self.0.insert((partition, mark), Alert { heard, last: None });
            }
        }
    }

    /// Takes a record from before the committed offset, in order, where something of its alert is withheld. Then it gives whether
    /// the webhook was told of the alert before.
    pub fn recall(&mut self, partition: i32, alert: &AlertRecord, record: impl FnOnce() -> Record) -> Option<bool> {
        let known = self.0.get_mut(&(partition, mark(&alert.id)))?;
        known.last = Some((alert.subject.clone(), record()));
        Some(known.heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::alert;
    use crate::news::EventTime;

    const BANKS: &str = "group:banks";

    fn record(alert: &AlertRecord, partition: i32, offset: i64) -> Record {
        let payload = serde_json::to_vec(alert).unwrap();
        Record { partition, offset, time: EventTime(offset), key: Some(alert.id.clone().into()), payload }
    }

    fn due(withheld: &Withheld, silenced: &[&str]) -> Option<i64> {
        withheld.due(|subject| silenced.contains(&subject.as_str())).map(|record| record.offset)
    }

    #[test]
    fn what_fires_in_a_silence_is_told_behind_it_as_it_is_then_or_never() {
        let [fired, escalated, resolved] =
            [Transition::Firing, Transition::Escalated, Transition::Resolved].map(|transition| alert(BANKS, 1_000, 1_000, transition));
        let mut withheld = Withheld::default();
        assert_eq!(withheld.verdict(1, &fired, false), Verdict::Tell);
        assert_eq!(withheld.verdict(1, &fired, true), Verdict::Withhold);
        withheld.keep(&fired, record(&fired, 1, 7), false);
        assert_eq!(withheld.verdict(1, &resolved, true), Verdict::Leave);
        assert_eq!(withheld.verdict(0, &resolved, true), Verdict::Tell, "of another partition");
        withheld.keep(&escalated, record(&escalated, 1, 9), true);
        assert_eq!(withheld.verdict(1, &resolved, false), Verdict::Leave, "nobody was told of it, whatever came since");
        assert_eq!(due(&withheld, &[BANKS]), None);
        assert_eq!(due(&withheld, &["market"]), Some(9), "as it is now");
        assert!(withheld.settle(1, &fired) && !withheld.settle(1, &fired));
        assert_eq!((withheld.verdict(1, &resolved, true), due(&withheld, &[])), (Verdict::Tell, None));
    }

    #[test]
    fn what_fired_before_a_silence_is_told_of_its_end_and_not_that_it_grows_worse() {
        let [escalated, resolved] = [Transition::Escalated, Transition::Resolved].map(|transition| alert(BANKS, 1_000, 2_000, transition));
        let mut withheld = Withheld::default();
        assert_eq!(withheld.verdict(0, &resolved, true), Verdict::Tell);
        assert_eq!(withheld.verdict(0, &escalated, true), Verdict::Withhold);
        withheld.keep(&escalated, record(&escalated, 0, 3), true);
        assert_eq!(withheld.verdict(0, &resolved, true), Verdict::Tell);
    }

    #[test]
    fn what_is_withheld_goes_with_its_partition_and_is_the_same_behind_a_restart() {
        let fired = |subject: &str| alert(subject, 1_000, 1_000, Transition::Firing);
        let mut before = Withheld::default();
        for (subject, partition, offset, heard) in
            [(BANKS, 0, 5, false), ("market", 0, 4, true), ("entity:one", 0, 3, false), ("topic:Macro", 1, 1, false)]
        {
            before.keep(&fired(subject), record(&fired(subject), partition, offset), heard);
        }
        let metadata = before.metadata(0);
        assert_eq!((metadata.len(), before.metadata(2)), (FORM.len() + 1 + 3 * 8, String::new()));
        let mut after = Withheld::default();
        after.restore(0, &metadata);
        assert_eq!(after.metadata(0), metadata);
        // The topic has been compacted: of one of them only a later record is left, which comes when it is its turn.
        for subject in [BANKS, "market", "group:others"] {
            let heard = after.recall(0, &fired(subject), || record(&fired(subject), 0, 5));
            assert_eq!(
                heard,
                match subject {
                    BANKS => Some(false),
                    "market" => Some(true),
                    _ => None,
                },
                "{subject}"
            );
        }
        assert_eq!(due(&after, &[BANKS]), Some(5));
        assert_eq!(after.verdict(0, &alert("entity:one", 1_000, 9_000, Transition::Resolved), true), Verdict::Leave);
        for other in ["", "withheld:", "12,13", "withheld:!.!"] {
            after.restore(1, other);
        }
        after.forget(&[0]);
        assert!(after.is_empty());
    }

    #[test]
    fn so_much_is_withheld_as_a_commit_has_room_for() {
        let mut withheld = Withheld::default();
        let fired = |number: usize| alert(&format!("entity:e{number}"), 1_000, 1_000, Transition::Firing);
        for number in 0..MOST {
            assert_eq!(withheld.verdict(0, &fired(number), true), Verdict::Withhold);
            withheld.keep(&fired(number), record(&fired(number), 0, number as i64), false);
        }
        assert_eq!((withheld.verdict(0, &fired(MOST), true), withheld.verdict(1, &fired(MOST), true)), (Verdict::Tell, Verdict::Withhold));
        assert_eq!(withheld.verdict(0, &alert("entity:e0", 1_000, 2_000, Transition::Escalated), true), Verdict::Withhold);
        assert!(withheld.metadata(0).len() < 4_096);
    }
}
