//! The bytes of a feed → its entries: RSS 0.9 to 2.0, RSS 1.0 (RDF) and Atom.

use std::borrow::Cow;
use std::sync::LazyLock;

use atom_syndication::{Feed, Text, TextType};
use diligent_date_parser::parse_date;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use quick_xml::Reader;
use quick_xml::events::Event;
use regex::bytes::Regex;
use rss::Channel;
use url::Url;

use super::text::{one_line, plain};
use crate::news::EventTime;

/// The first ones of a document; feeds begin with the newest.
pub const MAX_ENTRIES: usize = 500;
/// No feed is as deep; the readers of RSS and Atom go down by recursion.
const MAX_DEPTH: usize = 64;
pub const TITLE_CHARACTERS: usize = 1_000;
/// Far more than the model reads.
pub const BODY_CHARACTERS: usize = 20_000;

/// The encoding that an XML declaration names.
static DECLARED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._:-]+)["']"#).expect("a constant pattern that the tests compile")
});
static DECLARATION: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r"^\s*<\?xml[^>]*\?>").expect("a constant pattern that the tests compile"));

/// One entry, its texts plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What tells it from the others of the feed.
    pub id: String,
    pub title: String,
    pub body: String,
    pub url: Option<String>,
    pub published_at: Option<EventTime>,
}

/// Why a document is no feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is neither RSS nor Atom: it begins with <{0}>")]
    Kind(String),
    #[error("it is no XML, or ends early: {0}")]
    Xml(String),
    #[error("its elements are nested deeper than {MAX_DEPTH}")]
    Deep,
}

/// Reads a document that came from `base` with that `Content-Type`.
///
/// # Errors
/// [`Malformed`]; nothing of such a document is taken.
pub fn read(bytes: &[u8], content_type: Option<&str>, base: &Url) -> Result<Vec<Entry>, Malformed> {
    let text = decoded(bytes, content_type);
    // The readers would believe what is declared, and it is UTF-8 now.
    let text = DECLARATION.replace(&text, "");
    let mut entries: Vec<Entry> = match root(&text)?.as_str() {
        "rss" | "rdf:RDF" => {
            let channel = Channel::read_from(text.as_bytes()).map_err(|error| Malformed::Xml(error.to_string()))?;
            channel.into_items().into_iter().take(MAX_ENTRIES).map(|item| of_rss(&item, base)).collect()
        }
        "feed" => {
            let feed = Feed::read_from(text.as_bytes()).map_err(|error| Malformed::Xml(error.to_string()))?;
            feed.entries.into_iter().take(MAX_ENTRIES).map(|entry| of_atom(&entry, base)).collect()
        }
        other => return Err(Malformed::Kind(other.chars().take(40).collect())),
    };
    entries.retain(|entry| !entry.title.is_empty() || !entry.body.is_empty());
    Ok(entries)
}

/// By the byte order mark, else by what the server says, else by what the document says (RFC 7303, 3.2). What is called UTF-8
/// and is not is mostly Windows-1252, which is what browsers take it for.
fn decoded<'a>(bytes: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    let charset = content_type.and_then(charset).and_then(|label| Encoding::for_label(label.as_bytes()));
    let declared = || Encoding::for_label(DECLARED.captures(bytes)?.get(1)?.as_bytes());
    let encoding = charset.or_else(declared).unwrap_or(UTF_8);
    let (text, used, malformed) = encoding.decode(bytes);
    if malformed && used == UTF_8 && Encoding::for_bom(bytes).is_none() {
        return WINDOWS_1252.decode_without_bom_handling(bytes).0;
    }
    text
}

fn charset(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset")).map(|(_, value)| value.trim().trim_matches('"')).next()
}

/// The name of the outermost element of a document that is not too deep.
fn root(text: &str) -> Result<String, Malformed> {
    let mut reader = Reader::from_str(text);
    let (mut depth, mut root) = (0usize, None);
    loop {
        match reader.read_event().map_err(|error| Malformed::Xml(error.to_string()))? {
            Event::Start(element) => {
                depth += 1;
                root.get_or_insert_with(|| String::from_utf8_lossy(element.name().as_ref()).into_owned());
                if depth > MAX_DEPTH {
                    return Err(Malformed::Deep);
                }
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof => return root.ok_or_else(|| Malformed::Xml("there is no element in it".into())),
            _ => {}
        }
    }
}

fn of_rss(item: &rss::Item, base: &Url) -> Entry {
    let title = plain(item.title().unwrap_or_default(), TITLE_CHARACTERS);
    let body = first_text([item.description(), item.content()]);
    let guid = item.guid();
    let permalink = guid.filter(|guid| guid.is_permalink()).map(rss::Guid::value);
    let url = item.link().or(permalink).and_then(|link| absolute(link, base));
    let named = guid.map(|guid| guid.value().trim().to_owned());
    let id = named.filter(|id| !id.is_empty()).or_else(|| url.clone()).unwrap_or_else(|| format!("{title}\n{body}"));
    let date = item.pub_date().or_else(|| item.dublin_core_ext()?.dates().first().map(String::as_str));
    Entry { id, title, body, url, published_at: date.and_then(time) }
}

fn of_atom(entry: &atom_syndication::Entry, base: &Url) -> Entry {
    let title = of_text(&entry.title, TITLE_CHARACTERS);
    let summary = entry.summary.as_ref().map(|summary| of_text(summary, BODY_CHARACTERS)).filter(|text| !text.is_empty());
    let content = || {
        let content = entry.content.as_ref()?;
        let value = content.value.as_deref()?;
        match content.content_type.as_deref() {
            None | Some("text" | "text/plain") => Some(one_line(value, BODY_CHARACTERS)),
            Some(kind) if kind.contains("html") => Some(plain(value, BODY_CHARACTERS)),
            Some(_) => None,
        }
    };
    let body = summary.or_else(content).unwrap_or_default();
    let link = entry.links.iter().find(|link| link.rel == "alternate").or(entry.links.first());
    let url = link.and_then(|link| absolute(&link.href, base));
    let named = Some(entry.id.trim().to_owned()).filter(|id| !id.is_empty());
    let id = named.or_else(|| url.clone()).unwrap_or_else(|| format!("{title}\n{body}"));
    // A date that is missing is the beginning of 1970 here.
    let updated = Some(entry.updated.timestamp_millis()).filter(|ms| *ms > 0);
    let published_at = entry.published.map(|at| at.timestamp_millis()).or(updated).map(EventTime);
    Entry { id, title, body, url, published_at }
}

fn of_text(text: &Text, most: usize) -> String {
    if text.r#type == TextType::Text { one_line(&text.value, most) } else { plain(&text.value, most) }
}

/// A summary says what an article is about in the words that a headline leaves out; an article in full may be about more.
fn first_text<const N: usize>(texts: [Option<&str>; N]) -> String {
    texts.into_iter().flatten().map(|html| plain(html, BODY_CHARACTERS)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn absolute(link: &str, base: &Url) -> Option<String> {
    let url = base.join(link.trim()).ok().filter(|url| ["http", "https"].contains(&url.scheme()))?;
    Some(url.into())
}

fn time(date: &str) -> Option<EventTime> {
    parse_date(date).map(|at| EventTime(at.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(document: &[u8], content_type: Option<&str>) -> Vec<Entry> {
        read(document, content_type, &Url::parse("https://wire.example/feeds/all.xml").unwrap()).unwrap()
    }

    fn refusal(document: &str) -> Malformed {
        read(document.as_bytes(), None, &Url::parse("https://wire.example/").unwrap()).unwrap_err()
    }

    #[test]
    fn rss_atom_and_rdf_say_the_same() {
        let rss = r#"<?xml version="1.0"?><rss version="2.0"><channel><title>Wire</title><link>/</link><description>d</description>
            <item><title><![CDATA[Bank <b>fails</b>]]></title><description>&lt;p&gt;Depositors&lt;/p&gt;&lt;p&gt;queue&lt;/p&gt;</description>
            <link>/1</link><guid isPermaLink="false">a-1</guid><pubDate>Tue, 10 Mar 2026 16:35:00 GMT</pubDate></item></channel></rss>"#;
        let atom = r#"<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>Wire</title><id>w</id><updated>2026-03-10T17:00:00Z</updated>
            <entry><title type="html">Bank &lt;b&gt;fails&lt;/b&gt;</title><id>a-1</id><link rel="self" href="/x"/><link href="/1"/>
            <updated>2026-03-10T16:40:00Z</updated><published>2026-03-10T17:35:00+01:00</published>
            <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Depositors</p><p>queue</p></div></content></entry></feed>"#;
        let rdf = r#"<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">
            <channel><title>Wire</title><link>/</link><description>d</description></channel>
            <item><title>Bank fails</title><link>https://wire.example/1</link><description>Depositors queue</description><dc:date>2026-03-10T16:35:00Z</dc:date></item></rdf:RDF>"#;
        let entry = Entry {
            id: "a-1".into(),
            title: "Bank fails".into(),
            body: "Depositors queue".into(),
            url: Some("https://wire.example/1".into()),
            published_at: EventTime::parse("2026-03-10T16:35:00Z"),
        };
        assert_eq!(entries(rss.as_bytes(), None), std::slice::from_ref(&entry));
        assert_eq!(entries(atom.as_bytes(), None), std::slice::from_ref(&entry));
        assert_eq!(entries(rdf.as_bytes(), None), [Entry { id: "https://wire.example/1".into(), ..entry }]);
    }

    fn titled(title: &str) -> String {
        format!("<rss version='2.0'><channel><title/><link/><description/><item><title>{title}</title></item></channel></rss>")
    }

    #[test]
    fn an_encoding_is_the_servers_or_the_documents_and_a_wrong_one_is_mended() {
        let title = |bytes: &[u8], content_type: Option<&str>| entries(bytes, content_type)[0].title.clone();
        let declared = |name: &str| format!("<?xml version='1.0' encoding='{name}'?>") + &titled("Zürich – Börse");
        let utf_8 = declared("utf-8").into_bytes();
        let (latin, ..) = WINDOWS_1252.encode("Zürich – Börse");
        let with = |head: &str| [head.as_bytes(), titled("@").replace('@', "").as_bytes()].concat();
        let in_latin = |head: &str| {
            let whole = with(head);
            let at = whole.windows(7).rposition(|window| window == b"<title>").unwrap() + 7;
            [&whole[..at], &latin, &whole[at..]].concat()
        };
        assert_eq!(title(&utf_8, None), "Zürich – Börse");
        assert_eq!(title(&in_latin("<?xml version='1.0' encoding='iso-8859-1'?>"), None), "Zürich – Börse", "as declared");
        assert_eq!(title(&in_latin(""), Some("text/xml; charset=\"windows-1252\"")), "Zürich – Börse", "as the server says");
        assert_eq!(title(declared("iso-8859-1").as_bytes(), Some("text/xml;charset=UTF-8")), "Zürich – Börse", "the server knows better");
        assert_eq!(title(&in_latin("<?xml version='1.0' encoding='utf-8'?>"), None), "Zürich – Börse", "called UTF-8, and is not");
        assert_eq!(title(&[b"\xef\xbb\xbf", declared("iso-8859-1").as_bytes()].concat(), None), "Zürich – Börse", "by its mark");
        let utf_16: Vec<u8> = [0xfeff].into_iter().chain(declared("utf-16").encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!(title(&utf_16, Some("text/xml; charset=utf-8")), "Zürich – Börse");
        assert_eq!(title(declared("klingon").as_bytes(), Some("text/xml; charset=x")), "Zürich – Börse", "an unknown one is none");
    }

    #[test]
    fn what_is_no_feed_says_so_and_nothing_of_it_is_taken() {
        assert_eq!(refusal("<html><body>Log in</body></html>"), Malformed::Kind("html".into()));
        for document in ["", "plain text", "{\"version\":\"1\"}", "<rss><channel>", "<rss><channel><item></rss>", &titled("S&P")] {
            assert!(matches!(refusal(document), Malformed::Xml(_)), "{document}: {:?}", refusal(document));
        }
        let deep =
            |open: &str, close: &str| titled("t").replace("</item>", &format!("{}{}</item>", open.repeat(200_000), close.repeat(200_000)));
        assert_eq!(refusal(&deep("<a:b>", "</a:b>")), Malformed::Deep);
        assert_eq!(refusal(&deep("<a>", "")), Malformed::Deep);
        let bomb = format!("<!DOCTYPE r [<!ENTITY a '{}'><!ENTITY b '&a;&a;&a;&a;&a;&a;'>]>{}", "x".repeat(1_000), titled("&b;"));
        assert_eq!(entries(bomb.as_bytes(), None)[0].title, "&b;", "entities of its own are not looked up");
    }

    #[test]
    fn an_entry_without_a_name_is_told_by_its_link_or_its_text() {
        let item = |inner: &str| {
            let document = titled("t").replace("<title>t</title>", inner);
            entries(document.as_bytes(), None).into_iter().map(|entry| (entry.id, entry.url)).collect::<Vec<_>>()
        };
        let link = || Some("https://wire.example/feeds/2".to_owned());
        assert_eq!(item("<title>t</title><link>2</link>"), [("https://wire.example/feeds/2".into(), link())]);
        assert_eq!(item("<title>t</title><guid>2</guid>"), [("2".into(), link())]);
        assert_eq!(item("<title>t</title><description>d</description>"), [("t\nd".into(), None)]);
        assert_eq!(item("<title>t</title><link>javascript:alert(1)</link>"), [("t\n".into(), None)]);
        assert_eq!(item("<title> </title><guid>3</guid>"), []);
    }

    #[test]
    fn a_long_document_is_cut_to_its_first_entries() {
        let many = titled("t")
            .replace("<item>", &"<item><title>n</title></item>".repeat(MAX_ENTRIES))
            .replace("</item><title>t", "</item><item><title>t");
        let found = entries(many.as_bytes(), None);
        assert_eq!((found.len(), found.iter().all(|entry| entry.title == "n")), (MAX_ENTRIES, true));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_entries_or_a_refusal(bytes: Vec<u8>, content_type: Option<String>) {
            let _ = read(&bytes, content_type.as_deref(), &Url::parse("https://wire.example/").unwrap());
        }
    }
}
