//! Finding conversations by their words: what a word is, for all stores alike.
//!
//! Text is cut into words, and words are written so that those of one meaning are equal: without capitals, accents and
//! full-width letters. Where a script has no spaces between words, as Chinese, Japanese and Thai have none, each two letters
//! beside each other are a word. A [`Search`] finds a text in which each of its words begins one. It is words and nothing
//! else: no letter in it means anything to a database.

use std::collections::BTreeSet;
use std::ops::{Bound, Range};

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::Metadata;

/// The most characters that what is looked for may have.
pub const MAX_SEARCH_CHARS: usize = 500;
/// How many characters of a text can be found, from its beginning.
pub const MAX_SEARCHED_CHARS: usize = 200_000;
/// Bytes of all words of a text together: an index of Postgres has a bound of its own.
const MAX_WORDS_BYTES: usize = 500_000;
/// Letters of a word. What is behind them is not compared.
const MAX_WORD_CHARS: usize = 64;

/// Words to look for.
///
/// ```
/// use opencode_host::store::Search;
///
/// let search = Search::new("Tomat \"GARDEN\"")?;
/// assert!(search.is_in("The garden has tomatoes."));
/// assert!(!search.is_in("The garden has no fruit."));
/// assert!(Search::new("東京")?.is_in("私は東京都に住んでいます"));
/// # Ok::<(), opencode_host::store::BadSearch>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    words: BTreeSet<String>,
}

/// Nothing can be looked for by a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSearch {
    /// It has more than [`MAX_SEARCH_CHARS`] characters.
    #[error("a search has at most {MAX_SEARCH_CHARS} characters: look for fewer words")]
    TooLong,
    /// It has no letter and no digit.
    #[error("there is no word in this search: write at least one letter or digit")]
    NoWords,
}

impl Search {
    /// Looks for the words of a text.
    ///
    /// # Errors
    /// [`BadSearch`] for a text that is too long, or has no words.
    pub fn new(text: &str) -> Result<Self, BadSearch> {
        if text.chars().nth(MAX_SEARCH_CHARS).is_some() {
            return Err(BadSearch::TooLong);
        }
        let mut words = BTreeSet::new();
        for run in runs(text) {
            match &*run.pieces {
                [] => {}
                [(_, only)] => {
                    words.insert(only.clone());
                }
                pieces => words.extend(pairs(pieces).map(|(_, pair)| pair)),
            }
        }
        if words.is_empty() {
            return Err(BadSearch::NoWords);
        }
        Ok(Self { words })
    }

    /// The words, each of which is to begin one of the [`searched_words`] of a text. They are of letters and digits.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Whether these are the words of a text in which all are found.
    pub fn is_among(&self, words: &BTreeSet<String>) -> bool {
        self.words().all(|wanted| {
            let from = (Bound::Included(wanted), Bound::Unbounded);
            let first = words.range::<str, _>(from).next();
            first.is_some_and(|word| word.starts_with(wanted))
        })
    }

    /// Whether all words are found in a text.
    pub fn is_in(&self, text: &str) -> bool {
        self.is_among(&searched_words(text))
    }

    /// Where words of a text are that are looked for, in their order, as places of bytes.
    pub fn marks(&self, text: &str) -> Vec<Range<usize>> {
        let mut marks: Vec<Range<usize>> = Vec::new();
        for run in runs(text) {
            let found = |word: &str| self.words().any(|wanted| word.starts_with(wanted));
            let pairs = pairs(&run.pieces).filter(|(_, pair)| found(pair));
            let mut places: Vec<_> = pairs
                .map(|(place, pair)| {
                    // Of two letters the first may be all that is looked for.
                    let only = run
                        .pieces
                        .iter()
                        .find(|(piece, _)| piece.start == place.start);
                    let is_whole = self.words().any(|wanted| wanted == pair);
                    only.filter(|_| !is_whole)
                        .map_or(place, |(piece, _)| piece.clone())
                })
                .collect();
            let last = run.pieces.last().filter(|(_, piece)| found(piece));
            places.extend(last.map(|(place, _)| place.clone()));
            for place in places {
                match marks.last_mut() {
                    Some(before) if place.start < before.end => {
                        before.end = before.end.max(place.end);
                    }
                    _ => marks.push(place),
                }
            }
        }
        marks
    }
}

/// The words that a text is found by, as a store keeps them: of its first [`MAX_SEARCHED_CHARS`] characters, and 500,000
/// bytes of words at most. Each is of letters and digits, and has at most 64.
pub fn searched_words(text: &str) -> BTreeSet<String> {
    let end = text.char_indices().nth(MAX_SEARCHED_CHARS);
    let text = &text[..end.map_or(text.len(), |(end, _)| end)];
    let (mut words, mut bytes) = (BTreeSet::new(), 0);
    for run in runs(text) {
        let last = run.pieces.last().map(|(_, piece)| piece.clone());
        let all = pairs(&run.pieces).map(|(_, pair)| pair).chain(last);
        for word in all {
            let size = word.len();
            if bytes + size <= MAX_WORDS_BYTES && words.insert(word) {
                bytes += size;
            }
        }
    }
    words
}

/// The words that a conversation itself is found by: of its name, and of the texts that are noted at it under a name each.
pub fn title_words(name: &str, metadata: &Metadata) -> BTreeSet<String> {
    let texts = metadata
        .iter()
        .filter_map(|(_, value)| value.as_str().map(str::to_owned));
    let all: Vec<_> = std::iter::once(name.to_owned()).chain(texts).collect();
    searched_words(&all.join("\n"))
}

/// Letters beside each other: one word, or letters of a script without spaces.
struct Run {
    /// Where each piece is, and how it is written for comparing. Of a word there is one.
    pieces: Vec<(Range<usize>, String)>,
}

/// Each two pieces beside each other as one word.
fn pairs(pieces: &[(Range<usize>, String)]) -> impl Iterator<Item = (Range<usize>, String)> {
    pieces.windows(2).map(|pair| {
        let [(first, one), (second, other)] = pair else {
            return (0..0, String::new());
        };
        (first.start..second.end, format!("{one}{other}"))
    })
}

/// The runs of a text.
fn runs(text: &str) -> impl Iterator<Item = Run> {
    let mut letters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        loop {
            let (start, first) = letters.find(|(_, letter)| letter.is_alphanumeric())?;
            let is_unspaced = has_no_spaces(first);
            let first = start..start + first.len_utf8();
            let mut places = Vec::from([first]);
            while let Some((at, letter)) = letters.next_if(|(_, letter)| {
                is_mark(*letter)
                    || (letter.is_alphanumeric() && has_no_spaces(*letter) == is_unspaced)
            }) {
                let end = at + letter.len_utf8();
                match places.last_mut() {
                    Some(last) if !is_unspaced || is_mark(letter) => last.end = end,
                    _ => places.push(at..end),
                }
            }
            let pieces: Vec<_> = places
                .into_iter()
                .map(|place| (place.clone(), written(&text[place])))
                .filter(|(_, word)| !word.is_empty())
                .collect();
            if !pieces.is_empty() {
                return Some(Run { pieces });
            }
        }
    })
}

/// A word as it is compared.
fn written(word: &str) -> String {
    let plain = word
        .nfkd()
        // Accents of Latin, Greek and Cyrillic; marks of other scripts make other letters.
        .filter(|letter| !('\u{300}'..='\u{36f}').contains(letter))
        .nfc()
        .collect::<String>()
        .to_lowercase();
    let mut written = String::with_capacity(plain.len());
    for letter in plain.chars() {
        match letter {
            'ß' => written.push_str("ss"),
            'ς' => written.push('σ'),
            '\u{300}'..='\u{36f}' => {}
            letter if letter.is_alphanumeric() || is_combining_mark(letter) => written.push(letter),
            _ => {}
        }
    }
    match written.char_indices().nth(MAX_WORD_CHARS) {
        Some((end, _)) => written[..end].to_owned(),
        None => written,
    }
}

/// Whether a letter belongs to the one before it.
fn is_mark(letter: char) -> bool {
    is_combining_mark(letter) || matches!(letter, '\u{ff9e}' | '\u{ff9f}')
}

/// Whether words of this letter's script stand together without a space.
fn has_no_spaces(letter: char) -> bool {
    matches!(letter,
        '\u{e00}'..='\u{eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' // Myanmar
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9f}' // Hiragana, Katakana
        | '\u{3005}'..='\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}') // Han
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn marked(search: &str, text: &str) -> String {
        let mut marked = String::new();
        let mut last = 0;
        for place in Search::new(search).unwrap().marks(text) {
            marked.push_str(&text[last..place.start]);
            marked.extend(["[", &text[place.clone()], "]"]);
            last = place.end;
        }
        marked + &text[last..]
    }

    #[test]
    fn words_are_found_by_their_beginnings_and_marked() {
        for (search, text) in [
            ("garden", "A [Gardener] of [GARDENS], not of agarden"),
            ("CAFÉ strasse", "[Cafe\u{301}] in der [Straße]"),
            ("foo bar", "`[foo]_[bar]`(\"[foo]\")"),
            ("ὁδός", "[Ὁδός] ΟΔ"),
            ("ａｂｃ", "[abc] [ＡＢＣＤ]"),
            ("서울", "[서울에서] 왔어요"),
            ("東京", "私は[東京]都に。[東京]"),
            ("東京都", "[東京都]"),
            ("京", "東[京]都と[京]"),
            ("がき", "[がき]とかき"),
            ("ｶﾞｷ", "[ガキ]"),
            ("2026 v2", "[2026]-11, [v2].1"),
            ("हिन्दी", "यह [हिन्दी] है"),
            ("ไทย", "ภาษา[ไทย]"),
        ] {
            let plain = text.replace(['[', ']'], "");
            assert_eq!(marked(search, &plain), text);
            assert!(
                Search::new(search).unwrap().is_in(&plain) || plain.contains("agarden"),
                "{search}"
            );
        }
        for (search, text) in [
            ("arden", "garden"),
            ("garden tomato", "garden"),
            ("東都", "東京都"),
            ("か", "が"),
        ] {
            assert!(!Search::new(search).unwrap().is_in(text), "{search}");
        }
    }

    #[test]
    fn a_search_has_words_and_an_end() {
        for nothing in ["", " \n", "\"*\" - () : ^", "\0", "\u{301}", "👍"] {
            assert_eq!(Search::new(nothing), Err(BadSearch::NoWords), "{nothing:?}");
        }
        assert!(Search::new(&"x".repeat(MAX_SEARCH_CHARS)).is_ok());
        let longer = "東".repeat(MAX_SEARCH_CHARS + 1);
        assert_eq!(Search::new(&longer), Err(BadSearch::TooLong));
        let quoted = Search::new("\"a\" OR NOT(b*) NEAR/2 {c}:d").unwrap();
        let words: Vec<_> = quoted.words().collect();
        assert_eq!(words, ["2", "a", "b", "c", "d", "near", "not", "or"]);
    }

    #[test]
    fn what_is_kept_of_a_text_is_bounded() {
        let long = format!("{} end", "a ".repeat(MAX_SEARCHED_CHARS));
        assert_eq!(searched_words(&long).len(), 1);
        let word = searched_words(&"x".repeat(1000));
        assert_eq!(word.first().unwrap().len(), MAX_WORD_CHARS);
        let many: String = ('\u{4e00}'..='\u{9fff}')
            .chain('\u{20000}'..='\u{2a000}')
            .collect();
        let many: String = many
            .chars()
            .chain(many.chars().rev())
            .chain(many.chars().step_by(2))
            .collect();
        let kept: usize = searched_words(&many).iter().map(String::len).sum();
        assert!(
            kept <= MAX_WORDS_BYTES && kept > MAX_WORDS_BYTES / 2,
            "{kept}"
        );
    }

    #[test]
    fn a_conversation_is_found_by_its_name_and_what_is_noted() {
        let metadata =
            json!({ "chat.title": "About gardens", "ticket": 42, "deep": { "a": "hidden" } });
        let metadata = Metadata::try_from(metadata).unwrap();
        let words: Vec<_> = title_words("Émile · x", &metadata).into_iter().collect();
        assert_eq!(words, ["about", "emile", "gardens", "x"]);
    }

    proptest! {
        /// Whatever is written: a text is found by any part of it that ends where a word does, marks are places in the
        /// text, and words hold nothing that a query language could take for its own.
        #[test]
        fn a_text_is_found_by_itself(text in "\\PC{0,60}") {
            let words = searched_words(&text);
            for word in &words {
                prop_assert!(word.chars().all(|c| c.is_alphanumeric() || is_combining_mark(c)), "{word:?}");
            }
            if let Ok(search) = Search::new(&text) {
                prop_assert!(search.is_among(&words), "{search:?} {words:?}");
                let marks = search.marks(&text);
                prop_assert!(!marks.is_empty());
                for mark in &marks {
                    prop_assert!(text.get(mark.clone()).is_some());
                }
                prop_assert!(marks.is_sorted_by(|a, b| a.end <= b.start));
            }
        }
    }
}
