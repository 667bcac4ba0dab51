//! Which record of a key is the last one.

use std::collections::HashMap;

use super::Error;

/// Some 40 bytes each.
const MOST: usize = 10_000_000;

/// The offset of the last record of each key, in one partition.
#[derive(Default)]
pub struct Last {
    /// A number for each text: subjects come again in every window.
    texts: HashMap<Box<str>, u32>,
    offsets: HashMap<(u32, i64), i64>,
}

impl Last {
    /// # Errors
    /// [`Error::TooMany`].
    pub fn note(&mut self, (text, number): (&str, i64), offset: i64, topic: &str) -> Result<(), Error> {
        let known = self.texts.len() as u32;
        let text = match self.texts.get(text) {
            Some(text) => *text,
            None => *self.texts.entry(text.into()).or_insert(known),
        };
        self.offsets.insert((text, number), offset);
        match self.offsets.len() > MOST {
            true => Err(Error::TooMany { topic: topic.to_owned(), most: MOST }),
            false => Ok(()),
        }
    }

    pub fn is(&self, (text, number): (&str, i64), offset: i64) -> bool {
        let last = self.texts.get(text).and_then(|text| self.offsets.get(&(*text, number)));
        last == Some(&offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_last_of_its_key_until_another_comes() {
        let mut last = Last::default();
        for (offset, key) in [("market", 1), ("market", 2), ("topic:Macro", 1), ("market", 1)].into_iter().enumerate() {
            last.note(key, offset as i64, "sentiment.windows").unwrap();
        }
        let kept: Vec<i64> = [(("market", 1), 0), (("market", 2), 1), (("topic:Macro", 1), 2), (("market", 1), 3), (("market", 1), 4)]
            .into_iter()
            .filter(|(key, offset)| last.is(*key, *offset))
            .map(|(_, offset)| offset)
            .collect();
        assert_eq!(kept, [1, 2, 3]);
    }
}
