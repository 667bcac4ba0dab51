//! What is done to a text before it is tokenised: exactly what training does.

use std::sync::LazyLock;

use regex::Regex;

static URL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?:https?://|www\.)\S+").expect("a constant pattern that the tests compile"));

/// HTML entities undone twice (feeds escape twice), URLs removed, white space collapsed.
pub fn prepare(text: &str) -> String {
    let once = html_escape::decode_html_entities(text);
    let twice = html_escape::decode_html_entities(&once);
    let bare = URL.replace_all(&twice, " ");
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_urls_and_white_space_go() {
        assert_eq!(prepare("S&amp;amp;P  falls\n2% https://example.com/a?b=c now &lt;b&gt; www.example.com"), "S&P falls 2% now <b>");
    }
}
