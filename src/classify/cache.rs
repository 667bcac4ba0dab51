//! What the model said of texts lately: syndicated copies are classified once.
//!
//! Keyed by the prepared text, so that copies which differ in markup or links alone share an entry. Memory is bounded by
//! `model.cache_texts`, some 300 bytes each; the text that was asked for least recently goes first.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use lru::LruCache;
use sha2::{Digest, Sha256};

use super::session::HeadOutputs;

/// 128 bits of SHA-256: whoever writes news cannot make two texts share one.
pub type Key = [u8; 16];

pub fn key(prepared: &str) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&Sha256::digest(prepared)[..16]);
    key
}

pub struct Cache(Mutex<LruCache<Key, HeadOutputs>>);

impl Cache {
    /// `None` for no texts.
    pub fn new(texts: usize) -> Option<Self> {
        // Room is made as it is needed.
        NonZeroUsize::new(texts).map(|texts| {
            let mut cache = LruCache::unbounded();
            cache.resize(texts);
            Self(Mutex::new(cache))
        })
    }

    fn entries(&self) -> MutexGuard<'_, LruCache<Key, HeadOutputs>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    pub fn get(&self, key: &Key) -> Option<HeadOutputs> {
        self.entries().get(key).cloned()
    }

    pub fn put(&self, entries: impl IntoIterator<Item = (Key, HeadOutputs)>) {
        let mut cache = self.entries();
        entries.into_iter().for_each(|(key, outputs)| drop(cache.put(key, outputs)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_no_more_texts_than_it_may_and_drops_the_least_recent() {
        let cache = Cache::new(3).unwrap();
        let outputs = |share: f64| HeadOutputs { unknown_share: share, ..HeadOutputs::default() };
        let keys: Vec<Key> = (0..5).map(|number| key(&format!("headline {number}"))).collect();
        cache.put(keys[..3].iter().enumerate().map(|(number, key)| (*key, outputs(number as f64))));
        assert_eq!(cache.get(&keys[0]).unwrap().unknown_share, 0.0);
        cache.put([(keys[3], outputs(3.0))]);
        let held: Vec<bool> = keys.iter().map(|key| cache.get(key).is_some()).collect();
        assert_eq!(held, [true, false, true, true, false]);
        assert!(Cache::new(0).is_none());
    }
}
