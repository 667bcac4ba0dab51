//! `bellwether explain`: which words made the model say so.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::io::Write as _;
use std::sync::Arc;

use super::{Failure, ModelArguments};
use crate::classify::explain::{Explanation, MAX_WORDS, Word, Words};
use crate::classify::{Classify, OnnxClassifier};
use crate::metrics::Metrics;
use crate::news::{Classification, Sentiment};

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  bellwether explain 'Harbour Bank shares plunge as depositors withdraw funds'\n\nA word's number is what it does to the log-odds of the label: above 0 it speaks for it. How that is found, and how faithful it is:\ndocs/explain.md."
)]
pub struct Arguments {
    /// One headline or text
    #[arg(value_name = "TEXT")]
    text: String,
    #[command(flatten)]
    model: ModelArguments,
    /// One JSON object, as in the evidence of an alert
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.model.load()?;
    super::start_logging(&config.log);
    let words = Words::of(&arguments.text);
    if words.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("the text has no word to explain")));
    }
    let classifier = OnnxClassifier::start(&config.model, Arc::new(Metrics::new()))?;
    let answers = classifier.submit(words.questions()).wait()?;
    let explanation = words.explained(&answers);
    match arguments.json {
        true => writeln!(std::io::stdout(), "{}", serde_json::to_string(&explanation)?)?,
        false => write!(std::io::stdout(), "{}", told(&explanation, &answers[0], std::io::stdout().is_terminal()))?,
    }
    Ok(())
}

fn told(explanation: &Explanation, whole: &Classification, coloured: bool) -> String {
    let mut text = format!(
        "{} ({:.0}%), {} ({:.0}%)\n\n ",
        explanation.sentiment.as_str(),
        whole.sentiment.probabilities.top() * 100.0,
        explanation.topic,
        whole.topic.probability * 100.0
    );
    let most = explanation.words.iter().map(|word| word.sentiment.abs()).fold(f64::MIN_POSITIVE, f64::max);
    for word in &explanation.words {
        let _ = match shade(explanation.sentiment, word.sentiment / most).filter(|_| coloured) {
            Some(shade) => write!(text, " \x1b[48;5;{shade}m\x1b[97m{}\x1b[0m", word.word),
            None => write!(text, " {}", word.word),
        };
    }
    if explanation.words.len() == MAX_WORDS {
        text.push_str(" …");
    }
    let width = explanation.words.iter().map(|word| word.word.chars().count()).max().unwrap_or(0).max(4);
    let _ = write!(text, "\n\n  {:<width$}  sentiment   topic\n", "word");
    let mut ranked: Vec<&Word> = explanation.words.iter().collect();
    ranked.sort_by(|one, other| other.sentiment.total_cmp(&one.sentiment));
    for word in ranked {
        let bar = "█".repeat((word.sentiment.max(0.0) / most * 12.0).round() as usize);
        let line = format!("  {:<width$}  {:>+9.2}  {:>+6.2}  {bar}", word.word, word.sentiment, word.topic);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Colour of the 256 of a terminal, darker the more a word speaks for the label, from 0 to 1; none for what hardly does.
fn shade(sentiment: Sentiment, part: f64) -> Option<u8> {
    let shades: [u8; 3] = match sentiment {
        Sentiment::Negative => [95, 131, 160],
        Sentiment::Neutral => [60, 61, 62],
        Sentiment::Positive => [65, 29, 28],
    };
    [0.15, 0.4, 0.7].iter().rposition(|&least| part >= least).map(|place| shades[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(word: &str, sentiment: f64) -> Word {
        Word { word: word.into(), sentiment, topic: 0.1 }
    }

    #[test]
    fn the_words_that_speak_for_the_label_are_coloured_and_come_first() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../schemas/news.scored.json")).unwrap();
        let example = &schema["examples"][0];
        let whole = Classification {
            topic: serde_json::from_value(example["topic"].clone()).unwrap(),
            sentiment: serde_json::from_value(example["sentiment"].clone()).unwrap(),
            logits: crate::news::Logits::default(),
            truncated: false,
            unknown_share: 0.0,
        };
        let words = vec![word("Bank", 0.1), word("shares", -0.5), word("plunge", 2.0)];
        let explanation = Explanation { sentiment: Sentiment::Negative, topic: "Macro".into(), words };
        let plain = told(&explanation, &whole, false);
        assert!(plain.starts_with("negative (85%), Macro (83%)\n\n  Bank shares plunge\n\n"), "{plain}");
        let rows: Vec<&str> = plain.lines().skip(5).map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(rows, ["plunge", "Bank", "shares"]);
        let coloured = told(&explanation, &whole, true);
        assert!(coloured.contains("  Bank shares \x1b[48;5;160m\x1b[97mplunge\x1b[0m\n"), "{coloured}");
    }
}
