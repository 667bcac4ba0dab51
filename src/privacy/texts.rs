//! News text in outputs: as it came, masked, encrypted, or not at all.
//!
//! Encrypted is XChaCha20-Poly1305 (the crate `chacha20poly1305`; Arciszewski 2020, draft-irtf-cfrg-xchacha): a nonce of 192 random
//! bits for every text, so that no counter has to be kept. An item's id and the field's name are authenticated along, so that a text
//! cannot be moved to another item. Form: `enc:v1:<key id>:<base64url of nonce, ciphertext and tag>`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde_json::{Map, Value};

use crate::config::{PrivacyConfig, TextMode};
use crate::news::NewsItem;

const PREFIX: &str = "enc:v1:";
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
/// The one field that stands for all that `extra` had.
const SEALED: &str = "encrypted";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("privacy.keys = \"{file}\" cannot be read: {cause}")]
    Unreadable { file: PathBuf, cause: std::io::Error },
    #[error("privacy.keys = \"{file}\", line {line}: {what}; a line is an id and a key, as `bellwether key` prints it")]
    Line { file: PathBuf, line: usize, what: &'static str },
    #[error("privacy.keys = \"{0}\" has no key; add the line that `bellwether key` prints")]
    Empty(PathBuf),
    #[error("there is no key {0:?} in the key file: it takes the one that was in force when the text was written")]
    NoSuchKey(String),
    #[error("a text of {item:?} does not fit key {key:?}: it was changed, moved from another item, or the key of that id is another")]
    Forged { item: String, key: String },
    #[error("a text of {0:?} is not in the form of an encrypted one")]
    Form(String),
}

/// Keys by id, and which one encrypts.
pub struct Keyring {
    keys: BTreeMap<String, XChaCha20Poly1305>,
    current: String,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keyring").field("keys", &self.keys.keys()).field("current", &self.current).finish()
    }
}

/// A new key, as a line of the key file: `id` and 256 random bits.
pub fn new_key(id: &str) -> String {
    format!("{id} {}", BASE64.encode(XChaCha20Poly1305::generate_key(&mut OsRng)))
}

/// What can be a key's id: it stands between colons.
pub fn is_key_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.chars().all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character))
}

impl Keyring {
    /// A key a line, `id base64`; the last one encrypts, all decrypt. Lines that are empty or begin with `#` are passed over.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Line`] or [`Error::Empty`]; none of them shows a key.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file).map_err(|cause| Error::Unreadable { file: file.to_owned(), cause })?;
        let mut keys = BTreeMap::new();
        let mut current = None;
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        for (index, line) in lines {
            let wrong = |what| Error::Line { file: file.to_owned(), line: index + 1, what };
            let (id, key) = line.split_once(char::is_whitespace).ok_or_else(|| wrong("not an id and a key"))?;
            let key = BASE64.decode(key.trim().trim_end_matches('=')).ok().filter(|key| key.len() == KEY_BYTES);
            let key = key.ok_or_else(|| wrong("the key is not 32 bytes in base64url"))?;
            if !is_key_id(id) {
                return Err(wrong("an id is letters, digits, '-', '_' and '.', at most 64"));
            }
            if keys.insert(id.to_owned(), XChaCha20Poly1305::new_from_slice(&key).expect("of this length")).is_some() {
                return Err(wrong("this id is there already"));
            }
            current = Some(id.to_owned());
        }
        let current = current.ok_or_else(|| Error::Empty(file.to_owned()))?;
        Ok(Self { keys, current })
    }

    fn seal(&self, item: &str, field: &str, text: &str) -> String {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let aad = context(item, field);
        let payload = Payload { msg: text.as_bytes(), aad: &aad };
        let sealed = self.keys[&self.current].encrypt(&nonce, payload).expect("only memory could run out");
        format!("{PREFIX}{}:{}", self.current, BASE64.encode([nonce.as_slice(), &sealed].concat()))
    }

    fn open(&self, item: &str, field: &str, sealed: &str) -> Result<String, Error> {
        let form = || Error::Form(item.to_owned());
        let (id, body) = sealed.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':')).ok_or_else(form)?;
        let bytes = BASE64.decode(body).map_err(|_| form())?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(form)?;
        let key = self.keys.get(id).ok_or_else(|| Error::NoSuchKey(id.to_owned()))?;
        let aad = context(item, field);
        let opened = key.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad });
        let forged = || Error::Forged { item: item.to_owned(), key: id.to_owned() };
        String::from_utf8(opened.map_err(|_| forged())?).map_err(|_| forged())
    }

    /// Opens every encrypted text of a record of `news.scored`, `news.observations` or `sentiment.alerts`, in its place. True where
    /// there was one.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], [`Error::Forged`] or [`Error::Form`] for the first one that cannot be opened.
    pub fn open_record(&self, record: &mut Value) -> Result<bool, Error> {
        match record {
            Value::Array(list) => list.iter_mut().try_fold(false, |any, value| Ok(self.open_record(value)? || any)),
            Value::Object(fields) => {
                let item = fields.get("id").and_then(Value::as_str).map(str::to_owned);
                let mut any = false;
                for (name, value) in fields.iter_mut() {
                    match (&item, &mut *value) {
                        (Some(item), Value::String(text)) if text.starts_with(PREFIX) => {
                            *text = self.open(item, name, text)?;
                            any = true;
                        }
                        (Some(item), Value::Object(extra)) if name == "extra" && is_sealed(extra) => {
                            let sealed = extra[SEALED].as_str().expect("just looked at").to_owned();
                            let opened = self.open(item, name, &sealed)?;
                            *value = serde_json::from_str(&opened).map_err(|_| Error::Form(item.clone()))?;
                            any = true;
                        }
                        (_, inner) => any |= self.open_record(inner)?,
                    }
                }
                Ok(any)
            }
            _ => Ok(false),
        }
    }
}

fn is_sealed(extra: &Map<String, Value>) -> bool {
    extra.len() == 1 && extra.get(SEALED).and_then(Value::as_str).is_some_and(|text| text.starts_with(PREFIX))
}

fn context(item: &str, field: &str) -> Vec<u8> {
    [field.as_bytes(), &[0], item.as_bytes()].concat()
}

/// How texts leave the classifier.
#[derive(Debug)]
pub struct Texts {
    mode: TextMode,
    keys: Option<Keyring>,
}

impl Texts {
    /// # Errors
    /// Those of [`Keyring::load`], where texts are to be encrypted.
    pub fn open(config: &PrivacyConfig) -> Result<Self, Error> {
        let keys = (config.text == TextMode::Encrypted).then(|| Keyring::load(&config.keys)).transpose()?;
        Ok(Self { mode: config.text, keys })
    }

    /// Whether whoever reads an output can compare what headlines say.
    pub fn are_readable(&self) -> bool {
        matches!(self.mode, TextMode::Full | TextMode::Masked)
    }

    /// A text of an item as it leaves.
    pub fn outward(&self, item: &str, field: &str, text: &str) -> Option<String> {
        match (self.mode, &self.keys) {
            (TextMode::Encrypted, Some(keys)) => Some(keys.seal(item, field, text)),
            (TextMode::Full | TextMode::Masked, _) => Some(text.to_owned()),
            (TextMode::None | TextMode::Encrypted, _) => None,
        }
    }

    /// Makes the texts of an item what they are to be in `news.scored`: title, body, and the fields that Bellwether does not know.
    pub fn turn_outward(&self, item: &mut NewsItem) {
        if self.are_readable() {
            return;
        }
        let NewsItem { id, title, body, extra, .. } = item;
        for (field, text) in [("title", title), ("body", body)] {
            *text = text.take().and_then(|text| self.outward(id, field, &text));
        }
        let fields = std::mem::take(extra);
        if !fields.is_empty()
            && let Some(sealed) = self.outward(id, "extra", &Value::Object(fields).to_string())
        {
            extra.insert(SEALED.to_owned(), sealed.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keyring(lines: &[&str]) -> (tempfile::NamedTempFile, Result<Keyring, Error>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let ring = Keyring::load(file.path());
        (file, ring)
    }

    fn item() -> NewsItem {
        let text = json!({"id": "a", "title": "Harbour Bank fails", "body": "In full", "desk": "banks"}).to_string();
        let config = crate::config::Config::default();
        crate::decode::decode(text.as_bytes(), crate::news::EventTime(0), &config.decode).unwrap()
    }

    fn texts(mode: TextMode, file: &Path) -> Texts {
        Texts::open(&PrivacyConfig { text: mode, keys: file.to_owned() }).unwrap()
    }

    #[test]
    fn who_holds_the_keys_reads_what_was_written_before_and_after_a_rotation() {
        let (old, new) = (new_key("2026-01"), new_key("2026-02"));
        let (file, _) = keyring(&[&old]);
        let mut first = item();
        texts(TextMode::Encrypted, file.path()).turn_outward(&mut first);
        std::fs::write(&file, format!("# rotated\n{old}\n\n{new}\n")).unwrap();
        let mut second = item();
        texts(TextMode::Encrypted, file.path()).turn_outward(&mut second);
        assert!(
            first.title.as_ref().unwrap().starts_with("enc:v1:2026-01:") && second.title.as_ref().unwrap().starts_with("enc:v1:2026-02:")
        );
        let ring = Keyring::load(file.path()).unwrap();
        for sealed in [first, second] {
            let alert = json!({"id": "rule/market/0", "evidence": [{"id": sealed.id, "title": sealed.title}]});
            let scored = json!({"id": sealed.id, "title": sealed.title, "body": sealed.body, "extra": sealed.extra});
            assert!(!scored.to_string().contains("Harbour") && !scored.to_string().contains("banks"));
            let (mut alert, mut scored) = (alert, scored);
            assert!(ring.open_record(&mut alert).unwrap() && ring.open_record(&mut scored).unwrap());
            assert_eq!(scored, json!({"id": "a", "title": "Harbour Bank fails", "body": "In full", "extra": {"desk": "banks"}}));
            assert_eq!(alert["evidence"][0]["title"], "Harbour Bank fails");
            assert!(!ring.open_record(&mut alert).unwrap(), "nothing is left to be opened");
        }
    }

    #[test]
    fn a_text_that_was_changed_or_moved_is_refused() {
        let (_file, ring) = keyring(&[&new_key("one")]);
        let (ring, (_other_file, stranger)) = (ring.unwrap(), keyring(&[&new_key("one"), &new_key("two")]));
        let sealed = ring.seal("a", "title", "Harbour Bank fails");
        assert_eq!(ring.open("a", "title", &sealed).unwrap(), "Harbour Bank fails");
        assert_ne!(sealed, ring.seal("a", "title", "Harbour Bank fails"), "equal texts do not look equal");
        let mut changed = sealed.clone().into_bytes();
        let middle = changed.len() / 2;
        changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        for (item, field, text) in [("b", "title", &sealed), ("a", "body", &sealed), ("a", "title", &changed)] {
            assert!(matches!(ring.open(item, field, text), Err(Error::Forged { .. })), "{item} {field} {text}");
        }
        let stranger = stranger.unwrap();
        assert!(matches!(stranger.open("a", "title", &sealed), Err(Error::Forged { .. })), "another key of the same id");
        assert!(matches!(ring.open("a", "title", &stranger.seal("a", "title", "x")), Err(Error::NoSuchKey(id)) if id == "two"));
        for text in ["enc:v1:one", "enc:v1:one:***", "enc:v1:one:AAAA"] {
            assert!(matches!(ring.open("a", "title", text), Err(Error::Form(_))), "{text}");
        }
    }

    #[test]
    fn without_text_nothing_of_it_is_left() {
        let mut silent = item();
        texts(TextMode::None, Path::new("")).turn_outward(&mut silent);
        assert_eq!((silent.title, silent.body, silent.extra.len()), (None, None, 0));
        let mut masked = item();
        texts(TextMode::Masked, Path::new("")).turn_outward(&mut masked);
        assert_eq!(masked, item());
    }

    #[test]
    fn a_key_file_that_is_wrong_is_named_with_its_line_and_without_its_keys() {
        let good = new_key("good");
        let secret = good.split_once(' ').unwrap().1;
        let said = |lines: &[&str]| {
            let error = keyring(lines).1.unwrap_err().to_string();
            assert!(!error.contains(secret), "{error}");
            error
        };
        assert!(said(&["", "# none"]).contains("has no key; add the line"));
        assert!(said(&[&good, &good]).contains("line 2: this id is there already"));
        assert!(said(&[&good, &good[5..]]).contains("line 2: not an id and a key"));
        assert!(said(&[&format!("short {}", &secret[..20])]).contains("line 1: the key is not 32 bytes"));
        assert!(said(&[&format!("a:b {secret}")]).contains("line 1: an id is letters"));
        assert!(
            Keyring::load(Path::new("nowhere/keys")).unwrap_err().to_string().contains("privacy.keys = \"nowhere/keys\" cannot be read")
        );
        let (_file, ring) = keyring(&[&good]);
        assert!(!format!("{ring:?}").contains(secret));
    }
}
