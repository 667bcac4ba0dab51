//! The watchlist: which companies, themes and groups an item is about, found in one pass over its text.
//!
//! Aliases match at word boundaries, without regard to case unless listed under `exact`; tickers match as an exact
//! word, as a cashtag (`$HBLN`) and in the item's `symbols`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Deserialize;

use crate::config::{Config, Problems};
use crate::news::{NewsItem, Subject, SubjectKind};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchlistFile {
    #[serde(default)]
    entity: Vec<Entity>,
    #[serde(default)]
    group: Vec<Group>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityKind {
    Company,
    Theme,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    pub id: String,
    pub name: String,
    pub kind: EntityKind,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub exact: Vec<String>,
    #[serde(default)]
    pub tickers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub id: String,
    pub name: String,
    pub members: Vec<String>,
}

/// The compiled watchlist. Cheap to share, immutable.
pub struct Watchlist {
    entities: Vec<Entity>,
    groups: Vec<Group>,
    any_case: Matcher,
    exact_case: Matcher,
    tickers: BTreeMap<String, usize>,
    member_of: Vec<Vec<usize>>,
}

/// What an item was found to be about, in the watchlist's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    pub entities: Vec<String>,
    pub groups: Vec<String>,
}

/// One automaton and, for each of its patterns, the entity it stands for.
struct Matcher {
    automaton: Option<AhoCorasick>,
    entity_of: Vec<usize>,
}

impl Matcher {
    fn new(patterns: Vec<(String, usize)>, ignore_case: bool) -> Self {
        let (texts, entity_of): (Vec<String>, Vec<usize>) = patterns.into_iter().unzip();
        // All overlapping matches are wanted: "Signal" and "Signal Bank" may be two entities.
        let automaton = (!texts.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(ignore_case)
                .build(&texts)
                .expect("a watchlist is far below the automaton's limits")
        });
        Self { automaton, entity_of }
    }

    fn find(&self, text: &str, found: &mut BTreeSet<usize>) {
        let Some(automaton) = &self.automaton else { return };
        for hit in automaton.find_overlapping_iter(text) {
            if at_word_boundaries(text, hit.start(), hit.end()) {
                found.insert(self.entity_of[hit.pattern().as_usize()]);
            }
        }
    }
}

fn at_word_boundaries(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    let inside = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    !inside(before) && !inside(after)
}

impl Watchlist {
    pub fn empty() -> Self {
        Self::compile(WatchlistFile::default()).expect("an empty watchlist is valid")
    }

    /// # Errors
    /// All problems of the file, one a line: unreadable, not TOML, an id used twice, an unknown member, an entity that nothing can match.
    pub fn load(file: &Path) -> Result<Self, Vec<String>> {
        let name = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| vec![format!("watchlist.file = \"{name}\" cannot be read: {error}")])?;
        Self::parse(&text).map_err(|problems| problems.into_iter().map(|problem| format!("{name}: {problem}")).collect())
    }

    /// As [`Watchlist::load`], from TOML text.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let file: WatchlistFile = toml::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])?;
        Self::compile(file)
    }

    fn compile(file: WatchlistFile) -> Result<Self, Vec<String>> {
        let WatchlistFile { entity: entities, group: groups } = file;
        let mut problems = Vec::new();
        let mut index: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut any_case, mut exact_case, mut tickers) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (at, entity) in entities.iter().enumerate() {
            let id = &entity.id;
            if id.is_empty() || !id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
                problems.push(format!("entity id {id:?} must be lower-case letters, digits and hyphens"));
            }
            if index.insert(id, at).is_some() {
                problems.push(format!("entity id {id:?} is used twice"));
            }
            if entity.aliases.is_empty() && entity.exact.is_empty() && entity.tickers.is_empty() {
                problems.push(format!("entity {id:?} has no aliases, exact or tickers: nothing can match it"));
            }
            for alias in entity.aliases.iter().chain(&entity.exact).chain(&entity.tickers) {
                if alias.trim().is_empty() {
                    problems.push(format!("entity {id:?} has an empty alias: it would match everywhere"));
                }
            }
            any_case.extend(entity.aliases.iter().map(|alias| (alias.clone(), at)));
            exact_case.extend(entity.exact.iter().chain(&entity.tickers).map(|alias| (alias.clone(), at)));
            for ticker in &entity.tickers {
                if tickers.insert(ticker.to_ascii_uppercase(), at).is_some_and(|other| other != at) {
                    problems.push(format!("ticker {ticker:?} belongs to two entities"));
                }
            }
        }
        let mut member_of = vec![Vec::new(); entities.len()];
        let mut group_ids = BTreeSet::new();
        for (at, group) in groups.iter().enumerate() {
            if !group_ids.insert(&group.id) {
                problems.push(format!("group id {:?} is used twice", group.id));
            }
            for member in &group.members {
                match index.get(member.as_str()) {
                    Some(&entity) => member_of[entity].push(at),
                    None => problems.push(format!("group {:?} names an unknown member {member:?}", group.id)),
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            any_case: Matcher::new(any_case, true),
            exact_case: Matcher::new(exact_case, false),
            tickers,
            member_of,
            entities,
            groups,
        })
    }

    /// Entities and groups that the item's title, body or symbols mention.
    pub fn mentions(&self, item: &NewsItem) -> Mentions {
        let mut found = BTreeSet::new();
        for text in [&item.title, &item.body].into_iter().flatten() {
            self.any_case.find(text, &mut found);
            self.exact_case.find(text, &mut found);
        }
        for symbol in &item.symbols {
            found.extend(self.tickers.get(symbol.trim_start_matches('$').to_ascii_uppercase().as_str()));
        }
        let groups: BTreeSet<usize> = found.iter().flat_map(|&entity| self.member_of[entity].iter().copied()).collect();
        Mentions {
            entities: found.iter().map(|&entity| self.entities[entity].id.clone()).collect(),
            groups: groups.iter().map(|&group| self.groups[group].id.clone()).collect(),
        }
    }

    /// How a person calls the subject.
    /// The watchlist that the configuration names, or an empty one; and whether its rules name nobody else.
    ///
    /// # Errors
    /// All problems of the file, or all subjects that rules name and nobody can be.
    pub fn of(config: &Config) -> Result<Arc<Self>, Problems> {
        let file = &config.watchlist.file;
        let watchlist = match file.as_os_str().is_empty() {
            true => Self::empty(),
            false => Self::load(file).map_err(Problems)?,
        };
        watchlist.check_subjects(config)?;
        Ok(Arc::new(watchlist))
    }

    /// Problems that show only when configuration and watchlist are seen together: a rule on a subject nobody can be.
    pub fn check_subjects(&self, config: &Config) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (name, rule) in &config.rules {
            let known: Vec<&str> = match rule.group_by {
                SubjectKind::Entity => self.entities.iter().map(|entity| entity.id.as_str()).collect(),
                SubjectKind::Group => self.groups.iter().map(|group| group.id.as_str()).collect(),
                // Which topics there are only the model knows.
                SubjectKind::Market | SubjectKind::Topic => continue,
            };
            for subject in rule.subjects.iter().filter(|subject| !known.contains(&subject.as_str())) {
                problems
                    .push(format!("rules.{name}.subjects names {subject:?}, which is not in the watchlist {:?}", config.watchlist.file));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Whether two name the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.entities == other.entities && self.groups == other.groups
    }

    pub fn name_of(&self, subject: &Subject) -> String {
        let local = subject.local();
        let name = match subject.kind() {
            crate::news::SubjectKind::Market => Some("Market".to_owned()),
            crate::news::SubjectKind::Topic => None,
            crate::news::SubjectKind::Entity => self.entities.iter().find(|entity| entity.id == local).map(|entity| entity.name.clone()),
            crate::news::SubjectKind::Group => self.groups.iter().find(|group| group.id == local).map(|group| group.name.clone()),
        };
        name.unwrap_or_else(|| local.to_owned())
    }

    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

/// The subjects one item counts for: the market, its topic, its entities and their groups.
pub fn subjects(topic: &str, mentions: &Mentions) -> Vec<Subject> {
    let mut subjects = vec![Subject::market(), Subject::topic(topic)];
    subjects.extend(mentions.entities.iter().map(|id| Subject::entity(id)));
    subjects.extend(mentions.groups.iter().map(|id| Subject::group(id)));
    subjects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::decode::decode;
    use crate::news::EventTime;

    const LIST: &str = r#"
        [[entity]]
        id = "harbour"
        name = "Harbour Bank"
        kind = "company"
        aliases = ["Harbour Bank", "Harbour Bancorp"]
        exact = ["HB"]
        tickers = ["HBLN"]
        [[entity]]
        id = "deposit-flight"
        name = "Deposit flight"
        kind = "theme"
        aliases = ["bank run", "deposit outflows"]
        [[group]]
        id = "banks"
        name = "Banks"
        members = ["harbour"]
    "#;

    fn found(json: &str) -> Vec<String> {
        let item = decode(json.as_bytes(), EventTime(0), &Config::default().decode).unwrap();
        Watchlist::parse(LIST).unwrap().mentions(&item).entities
    }

    #[test]
    fn aliases_match_whole_words_in_any_case() {
        assert_eq!(found(r#"{"title":"HARBOUR BANK's shares fall amid bank run"}"#), ["harbour", "deposit-flight"]);
        assert!(found(r#"{"title":"Harbour Banking school; bank runner"}"#).is_empty());
        assert_eq!(found(r#"{"title":"¿Harbour Bank? — naïve"}"#), ["harbour"]);
    }

    #[test]
    fn exact_aliases_and_tickers_keep_their_case() {
        assert_eq!(found(r#"{"title":"HB sinks"}"#), ["harbour"]);
        assert_eq!(found(r#"{"title":"$HBLN sinks"}"#), ["harbour"]);
        assert!(found(r#"{"title":"hb pencils, hbln"}"#).is_empty());
        assert_eq!(found(r#"{"title":"Shares sink","symbols":["$hbln"]}"#), ["harbour"]);
    }

    #[test]
    fn an_item_counts_for_market_topic_entities_and_groups() {
        let mentions = Mentions { entities: vec!["harbour".into()], groups: vec!["banks".into()] };
        let subjects: Vec<String> = subjects("Macro", &mentions).into_iter().map(|subject| subject.to_string()).collect();
        assert_eq!(subjects, ["market", "topic:Macro", "entity:harbour", "group:banks"]);
    }

    #[test]
    fn all_problems_of_a_watchlist_are_named() {
        let problems = Watchlist::parse("[[entity]]\nid='A b'\nname='x'\nkind='company'\n[[group]]\nid='g'\nname='g'\nmembers=['nobody']")
            .err()
            .unwrap();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("unknown member \"nobody\"")));
    }

    #[test]
    fn the_shipped_watchlists_are_valid() {
        for file in ["config/watchlist.toml", "config/demo-watchlist.toml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            assert!(!Watchlist::load(&path).unwrap().entities().is_empty(), "{file}");
        }
    }
}
