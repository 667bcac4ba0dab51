//! Items by source. Names are shared, so that a source costs its name once, however many panes it stands in.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Items by source, in the order of their names. JSON: an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceCounts(Vec<(Arc<str>, u64)>);

impl SourceCounts {
    pub fn add(&mut self, source: &Arc<str>, items: u64) {
        // A pane of a subject has few sources, so that a sorted list is smaller than a map and no slower.
        match self.0.binary_search_by(|(name, _)| name.as_ref().cmp(source)) {
            Ok(place) => self.0[place].1 += items,
            Err(place) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(place, (source.clone(), items));
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.0.iter().map(|(source, items)| (source, *items))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const N: usize> From<[(&str, u64); N]> for SourceCounts {
    fn from(counts: [(&str, u64); N]) -> Self {
        let mut all = Self::default();
        counts.into_iter().for_each(|(source, items)| all.add(&source.into(), items));
        all
    }
}

impl Serialize for SourceCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for SourceCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;
        impl<'de> Visitor<'de> for Counts {
            type Value = SourceCounts;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of numbers by source")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<SourceCounts, M::Error> {
                let mut counts = SourceCounts::default();
                while let Some((source, items)) = map.next_entry::<Arc<str>, u64>()? {
                    counts.add(&source, items);
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_map(Counts)
    }
}

/// The names of sources in use.
#[derive(Debug, Default)]
pub struct SourceNames {
    names: HashSet<Arc<str>, foldhash::fast::RandomState>,
    /// Names that were in use when those out of use were last dropped.
    used: usize,
}

impl SourceNames {
    pub fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        // News brings new names without end.
        if self.names.len() > 2 * self.used + 1024 {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.used = self.names.len();
        }
        let new: Arc<str> = name.into();
        self.names.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_an_object_in_the_order_of_names() {
        let counts = SourceCounts::from([("b", 2), ("a", 1), ("b", 3)]);
        assert_eq!(serde_json::to_string(&counts).unwrap(), r#"{"a":1,"b":5}"#);
        assert_eq!(serde_json::from_str::<SourceCounts>(r#"{"b":5,"a":1}"#).unwrap(), counts);
        assert!(serde_json::from_str::<SourceCounts>("[1]").is_err());
    }

    #[test]
    fn names_out_of_use_are_dropped() {
        let mut names = SourceNames::default();
        let kept: Vec<Arc<str>> = (0..10).map(|number| names.get(&format!("kept-{number}"))).collect();
        (0..100_000).for_each(|number| drop(names.get(&format!("wire-{number}"))));
        assert!(names.names.len() <= 2 * 10 + 1025, "{}", names.names.len());
        assert!(kept.iter().all(|name| Arc::ptr_eq(name, &names.get(name))));
    }
}
