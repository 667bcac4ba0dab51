//! Markup out of a feed's texts. Entities that are still escaped then are undone where the model reads ([`crate::classify`]).

use html5gum::{DefaultEmitter, Token, Tokenizer};

/// What is in these is not for readers.
const UNREAD: [&[u8]; 6] = [b"script", b"style", b"template", b"noscript", b"iframe", b"svg"];
/// Words on both sides of these belong together; all other tags part them.
const WITHIN_WORDS: [&[u8]; 18] = [
    b"a", b"abbr", b"b", b"bdi", b"bdo", b"cite", b"code", b"em", b"font", b"i", b"mark", b"q", b"s", b"small", b"span", b"strong", b"u",
    b"wbr",
];

/// The text that a reader of the page would see, on one line, at most so many characters of it.
pub fn plain(html: &str, most: usize) -> String {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let (mut text, mut unread) = (String::new(), None);
    for token in Tokenizer::new_with_emitter(html, emitter).flatten() {
        match token {
            Token::String(piece) if unread.is_none() => text.push_str(&String::from_utf8_lossy(&piece)),
            Token::StartTag(tag) => {
                if unread.is_none() && !tag.self_closing && UNREAD.contains(&tag.name.as_slice()) {
                    unread = Some(tag.name.to_vec());
                }
                part(&mut text, &tag.name);
            }
            Token::EndTag(tag) => {
                unread = unread.filter(|name| *name != tag.name.to_vec());
                part(&mut text, &tag.name);
            }
            _ => {}
        }
    }
    one_line(&text, most)
}

/// Its words, parted by single spaces, at most so many characters.
pub fn one_line(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => line[..end].trim_end().to_owned(),
        None => line,
    }
}

fn part(text: &mut String, tag: &[u8]) {
    if !WITHIN_WORDS.contains(&tag) {
        text.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_words_stay_and_paragraphs_do_not_run_together() {
        for (html, text) in [
            ("<p>Bank fails.</p><p>Depositors&nbsp;queue</p>", "Bank fails. Depositors queue"),
            ("S<b>&amp;</b>P 500 &lt; 4,000<br/>says <a href='https://x.example'>Wire</a>.", "S&P 500 < 4,000 says Wire."),
            ("Rates<script>alert('<p>no</p>')</script> up<style>p { }</style>", "Rates up"),
            ("before<svg><text>chart</text></svg>after <!-- comment --> end", "before after end"),
            ("profit < loss, 3 > 2 & so on", "profit < loss, 3 > 2 & so on"),
            ("M&amp;amp;A", "M&amp;A"),
            ("<td>1</td><td>2</td>", "1 2"),
            ("", ""),
        ] {
            assert_eq!(plain(html, 1_000), text, "{html}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(plain("Zürich über alles", 6), "Zürich");
        assert_eq!(plain("Zürich über alles", 7), "Zürich");
        assert_eq!(plain("Zürich über alles", 8), "Zürich ü");
    }

    proptest::proptest! {
        #[test]
        fn any_markup_becomes_one_line(html: String) {
            let text = plain(&html, 100);
            assert!(text.chars().count() <= 100 && !text.contains('\n'));
        }
    }
}
