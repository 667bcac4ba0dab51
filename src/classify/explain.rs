//! Why the model said so: what each word of a text does to its sentiment and its topic.
//!
//! A word's weight is how much the log-odds of the label fall when the word is left out, and rise when it stands alone, on average:
//! the first and the last term of its Shapley value (Shapley 1953, *A Value for n-Person Games*), at two texts a word.
//! `docs/explain.md` has it beside other methods. Pure: what must be asked, and what the answers mean.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::prepare;
use crate::news::{Classification, Sentiment};

/// Longer texts are explained by so many of their first words.
pub const MAX_WORDS: usize = 40;
/// Where log-odds end.
const SUREST: f64 = 1e-6;

/// What the model says of a text, and what its words do to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub sentiment: Sentiment,
    pub topic: String,
    /// In the order of the text.
    pub words: Vec<Word>,
}

/// A word, and by how much it changes the log-odds of the two labels: above 0 it speaks for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    pub word: String,
    pub sentiment: f64,
    pub topic: f64,
}

/// A text and the places of its words.
#[derive(Debug, Clone)]
pub struct Words {
    text: String,
    spans: Vec<Range<usize>>,
}

impl Words {
    /// Of a text as the model reads it. What stands between spaces is a word; in scripts without spaces each character is.
    pub fn of(text: &str) -> Self {
        let text = prepare(text);
        let mut spans: Vec<Range<usize>> = Vec::new();
        let mut open = false;
        for (at, character) in text.char_indices() {
            let end = at + character.len_utf8();
            match spans.last_mut() {
                _ if character.is_whitespace() => open = false,
                Some(span) if open && !stands_alone(character) => span.end = end,
                _ => {
                    spans.push(at..end);
                    open = !stands_alone(character);
                }
            }
        }
        spans.truncate(MAX_WORDS);
        Self { text, spans }
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn word(&self, place: usize) -> &str {
        &self.text[self.spans[place].clone()]
    }

    /// The words that are kept, in their order; what lies behind the words that are explained stays.
    pub fn keep(&self, kept: impl Fn(usize) -> bool) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut behind = 0;
        for (place, span) in self.spans.iter().enumerate() {
            if kept(place) {
                text.push_str(&self.text[behind..span.end]);
            }
            behind = span.end;
        }
        text.push_str(&self.text[behind..]);
        text.trim().to_owned()
    }

    /// What the model must be asked: the whole text, the text without a word, then for each word the text without it and the word alone.
    pub fn questions(&self) -> Vec<String> {
        let alone_or_without = |place| [self.keep(|other| other != place), self.keep(|other| other == place)];
        [self.keep(|_| true), self.keep(|_| false)].into_iter().chain((0..self.len()).flat_map(alone_or_without)).collect()
    }

    /// What the answers mean, in the order of the questions.
    ///
    /// # Panics
    /// Where there are not as many answers as questions.
    pub fn explained(&self, answers: &[Classification]) -> Explanation {
        let [whole, empty, rest @ ..] = answers else { panic!("the text with all words and with none was asked first") };
        assert_eq!(rest.len(), 2 * self.len(), "an answer for each question");
        let (sentiment, topic) = (whole.sentiment.label, &whole.topic.label);
        let [full, none] = [whole, empty].map(|answer| LogOdds::of(answer, sentiment, topic));
        let words = rest.chunks_exact(2).enumerate().map(|(place, pair)| {
            let [without, alone] = [&pair[0], &pair[1]].map(|answer| LogOdds::of(answer, sentiment, topic));
            let weight = |full: f64, without: f64, alone: f64, none: f64| rounded((full - without + alone - none) / 2.0);
            Word {
                word: self.word(place).to_owned(),
                sentiment: weight(full.sentiment, without.sentiment, alone.sentiment, none.sentiment),
                topic: weight(full.topic, without.topic, alone.topic, none.topic),
            }
        });
        Explanation { sentiment, topic: topic.clone(), words: words.collect() }
    }
}

/// Chinese, Japanese, Korean: no spaces, and a character says what a word says elsewhere.
fn stands_alone(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Log-odds of two labels.
#[derive(Debug, Clone, Copy)]
pub struct LogOdds {
    pub sentiment: f64,
    pub topic: f64,
}

impl LogOdds {
    pub fn of(answer: &Classification, sentiment: Sentiment, topic: &str) -> Self {
        let probabilities = answer.sentiment.probabilities;
        let of_sentiment = [probabilities.negative, probabilities.neutral, probabilities.positive][sentiment.index()];
        let of_topic = answer.topic.probabilities.get(topic).copied().unwrap_or(0.0);
        Self { sentiment: log_odds(of_sentiment), topic: log_odds(of_topic) }
    }
}

fn log_odds(probability: f64) -> f64 {
    let probability = probability.clamp(SUREST, 1.0 - SUREST);
    (probability / (1.0 - probability)).ln()
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between_spaces_and_each_character_where_there_are_none() {
        let words = |text: &str| {
            let words = Words::of(text);
            (0..words.len()).map(|place| words.word(place).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            words("Harbour Bank's shares  plunge 12%, S&amp;P falls"),
            ["Harbour", "Bank's", "shares", "plunge", "12%,", "S&P", "falls"]
        );
        assert_eq!(words("腾讯 falls, 股价跌"), ["腾", "讯", "falls,", "股", "价", "跌"]);
        assert_eq!(words("   "), Vec::<String>::new());
    }

    #[test]
    fn every_word_is_asked_about_twice() {
        let words = Words::of("Bank shares plunge");
        assert_eq!(
            words.questions(),
            ["Bank shares plunge", "", "shares plunge", "Bank", "Bank plunge", "shares", "Bank shares", "plunge"]
        );
        let long = Words::of(&(0..100).map(|number| format!("w{number} ")).collect::<String>());
        assert_eq!((long.len(), long.questions().len()), (MAX_WORDS, 2 * MAX_WORDS + 2));
        assert!(long.keep(|_| false).starts_with("w40 w41"));
    }
}
