//! Raw records whose outputs a topic did not take, until they are committed as dead letters.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use crate::kafka::consumer::Offsets;
use crate::news::RawPlace;

/// Outlives the generation that found them. At most what one generation after the other has found and none has
/// committed yet, of partitions that are still this process's.
#[derive(Default)]
pub struct Unpublishable(Mutex<BTreeSet<RawPlace>>);

impl Unpublishable {
    fn places(&self) -> MutexGuard<'_, BTreeSet<RawPlace>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// False where it is known already.
    pub fn add(&self, place: RawPlace) -> bool {
        self.places().insert(place)
    }

    pub fn contains(&self, place: RawPlace) -> bool {
        self.places().contains(&place)
    }

    /// What lies before a committed offset is not read again.
    pub fn committed(&self, offsets: &Offsets) {
        self.places().retain(|place| offsets.get(&place.partition).is_none_or(|&(next, _)| place.offset >= next));
    }

    /// Their next owner finds out by itself.
    pub fn revoked(&self, partitions: &[i32]) {
        self.places().retain(|place| !partitions.contains(&place.partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_forgotten_with_its_commit_or_its_partition() {
        let places = Unpublishable::default();
        let place = |partition, offset| RawPlace { partition, offset };
        for (partition, offset) in [(0, 7), (0, 9), (1, 3), (2, 5)] {
            assert!(places.add(place(partition, offset)));
        }
        assert!(!places.add(place(0, 7)), "found twice: to leave it out did not help");
        places.committed(&Offsets::from([(0, (9, String::new())), (1, (3, String::new()))]));
        assert!(!places.contains(place(0, 7)) && places.contains(place(0, 9)) && places.contains(place(1, 3)));
        places.revoked(&[1]);
        assert!(!places.contains(place(1, 3)) && places.contains(place(2, 5)));
    }
}
