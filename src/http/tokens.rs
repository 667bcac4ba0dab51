//! Tokens: who may look and who may act. The file holds hashes only, so that reading it lets nobody in.
//!
//! A token is 256 random bits. Nobody guesses one, so its plain SHA-256 is as good as a slow, salted hash, which is for
//! passwords that people choose.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::news::hex;

/// Makes a token known as one of ours, to people and to scanners of leaked secrets.
const PREFIX: &str = "bw_";
const LONGEST_NAME: usize = 64;

/// What a holder may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Looks at page and API
    Viewer,
    /// Changes what the process does, too
    Operator,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// Whose token it is. The name is for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    pub role: Role,
}

/// The SHA-256 of a secret. Without `PartialEq`, so that it cannot be compared in a time that depends on it.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(bytes))
    }

    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl ConstantTimeEq for SecretHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// A new secret of 256 bits from the operating system.
///
/// # Errors
/// Where the operating system has no randomness to give.
pub fn new_secret() -> Result<String, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    Ok(format!("{PREFIX}{}", hex(&bits)))
}

/// The line of the tokens file for a token.
pub fn line(holder: &Holder, token: &str) -> String {
    format!("{} {} {}", holder.name, holder.role.as_str(), SecretHash::of(token).to_hex())
}

/// A holder's name: it stands in a file of words and in logs.
pub fn checked_name(name: &str) -> Result<String, String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-@".contains(character);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(plain) {
        Ok(name.to_owned())
    } else {
        Err(format!("a name must have 1 to {LONGEST_NAME} characters, letters, digits and . _ - @ only"))
    }
}

/// The tokens file: a line `name role hash` for each token; empty lines and those that begin with `#` say nothing.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(Holder, SecretHash)>);

impl Tokens {
    /// # Errors
    /// Every problem of the file, each with file, line and mend.
    pub fn read(file: &Path) -> Result<Self, Vec<String>> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            vec![format!(
                "http.tokens = {file:?} cannot be read ({error}): bellwether token NAME --role viewer >>{} makes it",
                file.display()
            )]
        })?;
        text.parse()
            .map_err(|problems: Vec<String>| problems.into_iter().map(|problem| format!("http.tokens = {file:?}{problem}")).collect())
    }

    /// Whose token this is. Looks at every entry, each in constant time, so that the time tells nothing of any of them.
    pub fn holder_of(&self, token: &str) -> Option<&Holder> {
        let hash = SecretHash::of(token);
        let none = self.0.len() as u64;
        let found =
            self.0.iter().zip(0..).fold(none, |found, ((_, entry), index)| u64::conditional_select(&found, &index, entry.ct_eq(&hash)));
        self.0.get(found as usize).map(|(holder, _)| holder)
    }
}

impl FromStr for Tokens {
    type Err = Vec<String>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut entries, mut names, mut problems) = (Vec::new(), HashSet::new(), Vec::new());
        let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        for (line, number) in lines {
            match entry(line) {
                Ok((holder, _)) if !names.insert(holder.name.clone()) => {
                    problems.push(format!(", line {number}: the name {:?} is there twice; every token has a name of its own", holder.name));
                }
                Ok(entry) => entries.push(entry),
                Err(problem) => problems.push(format!(", line {number}: {problem}")),
            }
        }
        if entries.is_empty() && problems.is_empty() {
            problems.push(" holds no token: add a line that `bellwether token NAME --role viewer` prints".to_owned());
        }
        if problems.is_empty() { Ok(Self(entries)) } else { Err(problems) }
    }
}

fn entry(line: &str) -> Result<(Holder, SecretHash), String> {
    let [name, role, hash] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        // Not the line itself: somebody may have put the token there.
        return Err("must be NAME ROLE HASH, as `bellwether token` prints it".to_owned());
    };
    let role = <Role as clap::ValueEnum>::from_str(role, false).map_err(|_| format!("the role {role:?} must be viewer or operator"))?;
    let hash = SecretHash::from_hex(hash).ok_or("the third word must be the token's SHA-256, 64 hex digits; not the token itself")?;
    Ok((Holder { name: checked_name(name)?, role }, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(name: &str, role: Role) -> Holder {
        Holder { name: name.to_owned(), role }
    }

    #[test]
    fn a_token_is_known_by_its_line_and_nothing_else_is() {
        let (desk, admin) = (new_secret().unwrap(), new_secret().unwrap());
        let lines =
            [line(&holder("desk", Role::Viewer), &desk), "# who acts".into(), String::new(), line(&holder("ops", Role::Operator), &admin)];
        let tokens: Tokens = lines.join("\n").parse().unwrap();
        assert_eq!(tokens.holder_of(&desk), Some(&holder("desk", Role::Viewer)));
        assert_eq!(tokens.holder_of(&admin), Some(&holder("ops", Role::Operator)));
        let hash = SecretHash::of(&desk).to_hex();
        for wrong in ["", "bw_", &desk[..desk.len() - 1], &format!("{desk} "), &desk.to_uppercase(), &hash, &new_secret().unwrap()] {
            assert_eq!(tokens.holder_of(wrong), None, "{wrong:?}");
        }
        assert_eq!(Tokens::default().holder_of(&desk), None);
    }

    #[test]
    fn a_token_has_256_random_bits_and_its_file_does_not_hold_it() {
        let tokens: HashSet<String> = (0..100).map(|_| new_secret().unwrap()).collect();
        assert_eq!(tokens.len(), 100);
        for token in tokens {
            assert_eq!(token.strip_prefix("bw_").unwrap().len(), 64);
            assert!(!line(&holder("desk", Role::Viewer), &token).contains(&token[3..]));
        }
        // The vector of FIPS 180-2.
        assert_eq!(SecretHash::of("abc").to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn every_problem_of_the_file_is_named_by_its_line_and_no_token_is_shown() {
        let token = new_secret().unwrap();
        let good = line(&holder("desk", Role::Viewer), &token);
        let text = format!("{good}\n{good}\nb@d! viewer {}\nboss king {}\ndesk2 viewer {token}\n{token}\n", "0".repeat(64), "0".repeat(64));
        let problems = text.parse::<Tokens>().err().unwrap();
        let expected = [
            ", line 2: the name \"desk\" is there twice; every token has a name of its own",
            ", line 3: a name must have 1 to 64 characters, letters, digits and . _ - @ only",
            ", line 4: the role \"king\" must be viewer or operator",
            ", line 5: the third word must be the token's SHA-256, 64 hex digits; not the token itself",
            ", line 6: must be NAME ROLE HASH, as `bellwether token` prints it",
        ];
        assert_eq!(problems, expected);
        assert!(!problems.concat().contains(&token));
        assert_eq!("# nothing yet\n".parse::<Tokens>().err().unwrap().len(), 1);
    }

    #[test]
    fn hashes_are_compared_in_constant_time_only() {
        let code = include_str!("tokens.rs").split("#[cfg(test)]").next().unwrap();
        let comparing = code.split("fn holder_of").nth(1).unwrap().split("\n    }\n").next().unwrap();
        assert!(comparing.contains(".ct_eq(") && comparing.contains("conditional_select"), "{comparing}");
        assert!(!comparing.contains("==") && !comparing.contains("find"), "{comparing}");
        let derived = code.split("pub struct SecretHash").next().unwrap().rsplit("#[derive").next().unwrap();
        assert!(
            !derived.contains("PartialEq") && !code.contains("impl PartialEq"),
            "a hash with == is compared in a time that depends on it"
        );
    }
}
