//! Texts that steer, reorder or hide, made visible.

use proptest::prelude::*;

use super::*;

/// Characters that must never reach a screen, whatever stands around them.
const HIDDEN: &[char] = &[
    '\0',
    '\u{7}',
    '\u{8}',
    '\u{b}',
    '\u{c}',
    '\r',
    '\u{1b}',
    '\u{1c}',
    '\u{7f}',
    '\u{80}',
    '\u{85}',
    '\u{9b}',
    '\u{9d}',
    '\u{ad}',
    '\u{34f}',
    '\u{61c}',
    '\u{115f}',
    '\u{1160}',
    '\u{17b4}',
    '\u{180e}',
    '\u{200b}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202b}',
    '\u{202c}',
    '\u{202d}',
    '\u{202e}',
    '\u{2060}',
    '\u{2061}',
    '\u{2065}',
    '\u{2066}',
    '\u{2067}',
    '\u{2068}',
    '\u{2069}',
    '\u{206a}',
    '\u{206f}',
    '\u{3164}',
    '\u{feff}',
    '\u{ffa0}',
    '\u{fff0}',
    '\u{fff9}',
    '\u{fffb}',
    '\u{fffe}',
    '\u{1bca0}',
    '\u{1d173}',
    '\u{e0001}',
    '\u{e0041}',
    '\u{e007f}',
    '\u{e0fff}',
    '\u{10ffff}',
];

#[test]
fn hidden_characters_are_written_out_in_every_shape() {
    for c in HIDDEN {
        for (before, after) in [
            ("a", "b"),
            ("", ""),
            ("א", "ב"),
            ("👩", "👩"),
            ("م", "م"),
            ("é", "é"),
        ] {
            let text = format!("{before}{c}{after}");
            let escaped = match c {
                '\r' => "\\r".to_owned(),
                c => format!("\\u{{{:x}}}", u32::from(*c)),
            };
            let wanted = format!("{before}{escaped}{after}");
            let mut stream = Stream::default();
            let pieces: String = text.chars().map(|c| stream.push(&c.to_string())).collect();
            for shown in [
                line(&text).to_string(),
                block(&text).to_string(),
                command(&text).to_string(),
                short(&text, 100),
                pieces + &stream.finish(),
            ] {
                // White space around a title is left out, and some of these are white space.
                assert!(
                    shown == wanted || (before.is_empty() && c.is_whitespace()),
                    "{text:?} is shown as {shown:?}"
                );
            }
        }
    }
}

#[test]
fn lines_show_their_ends_and_blocks_keep_them() {
    let text = "a\n\tb\r\nc";
    assert_eq!(line(text).to_string(), "a\\n\\tb\\r\\nc");
    assert_eq!(block(text).to_string(), "a\n\tb\\r\nc");
    assert_eq!(
        command("a\u{a0}\u{2003}b\u{2800} c\n").to_string(),
        "a\\u{a0}\\u{2003}b\\u{2800} c\n"
    );
    assert_eq!(
        block("prix\u{a0}: 5\u{202f}€").to_string(),
        "prix\u{a0}: 5\u{202f}€"
    );
}

#[test]
fn text_of_every_script_stays_readable() {
    for text in [
        "plain ASCII, `code` & <tags> \"quotes\" \\u{41}",
        "Übergrößenträger naïve e\u{301}te\u{301}",
        "שלום עולם שָׁלוֹם",
        "مرحبا بالعالم",
        "می\u{200c}خواهم",
        "क्\u{200d}ष श्री",
        "日本語 葛\u{e0100}城 한국어",
        "👨\u{200d}👩\u{200d}👧 👩🏽\u{200d}🚀 🏳\u{fe0f}\u{200d}🌈 ❤\u{fe0f}\u{200d}🔥 🧔🏻\u{200d}♂\u{fe0f} 🇩🇪",
        "1\u{fe0f}\u{20e3} #\u{fe0f}\u{20e3} ☺\u{fe0e} ✓\u{fe0f} ©\u{fe0f}",
        "ไทย ភាសាខ្មែរ မြန်မာ",
        "Z\u{351}\u{36f}\u{343}algo",
    ] {
        assert_eq!(line(text).to_string(), text);
        assert_eq!(block(text).to_string(), text);
    }
}

#[test]
fn joiners_and_marks_that_only_hide_are_written_out() {
    for (text, shown) in [
        ("r\u{200d}m", "r\\u{200d}m"),
        ("r\u{200c}m", "r\\u{200c}m"),
        ("\u{200d}", "\\u{200d}"),
        ("👩\u{200d}", "👩\\u{200d}"),
        ("👩\u{200d}rm", "👩\\u{200d}rm"),
        ("👩\u{200d}\u{200d}👩", "👩\\u{200d}\\u{200d}👩"),
        ("1\u{200d}2", "1\\u{200d}2"),
        ("می\u{200c} ", "می\\u{200c} "),
        ("1\u{fe0f}", "1\\u{fe0f}"),
        ("1\u{fe0f}2", "1\\u{fe0f}2"),
        ("a\u{fe0f}b", "a\\u{fe0f}b"),
        ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}\\u{fe0f}"),
        ("😀\u{fe00}\u{e0101}", "😀\\u{fe00}\\u{e0101}"),
        ("\u{301}a", "\\u{301}a"),
        (" \u{301}", " \\u{301}"),
        ("\u{1b}\u{301}", "\\u{1b}\\u{301}"),
    ] {
        assert_eq!(block(text).to_string(), shown);
    }
    let towers = format!("a{}", "\u{301}".repeat(100));
    assert_eq!(
        block(&towers).to_string().matches('\u{301}').count(),
        usize::from(MAX_MARKS)
    );
}

#[test]
fn titles_are_short_and_cut_between_characters() {
    for (text, max, shown) in [
        ("  a\n\t b  c  ", 80, "a\\n\\t b c"),
        ("gpj.\u{202e}exe", 80, "gpj.\\u{202e}exe"),
        (" \n ", 80, ""),
        ("日本語", 3, "日本語"),
        ("日本語です", 3, "日本語…"),
        ("ab cd", 3, "ab…"),
        ("abc", 0, "…"),
        ("ab\u{202e}c", 5, "ab…"),
        ("ab👩\u{200d}", 3, "ab👩…"),
        ("👩\u{200d}👩\u{200d}👧 ok", 80, "👩\u{200d}👩\u{200d}👧 ok"),
    ] {
        assert_eq!(short(text, max), shown, "{text:?}");
    }
}

proptest! {
    /// Nothing is dropped, nothing steers; the same however it is cut.
    #[test]
    fn any_text_is_safe_and_whole(text in any::<String>(), hidden in proptest::sample::select(HIDDEN), at in any::<prop::sample::Index>()) {
        let mut chars: Vec<char> = text.chars().collect();
        chars.insert(at.index(chars.len() + 1), hidden);
        let text: String = chars.iter().collect();
        let shown = block(&text).to_string();
        for c in shown.chars() {
            prop_assert!(!HIDDEN.contains(&c) && (!c.is_control() || matches!(c, '\n' | '\t')), "{c:?} in {shown:?}");
        }
        for c in &chars {
            let escaped = if *c == '\r' { "\\r".to_owned() } else { format!("\\u{{{:x}}}", u32::from(*c)) };
            prop_assert!(shown.contains(*c) || shown.contains(&escaped), "{c:?} is not in {shown:?}");
        }
        let mut stream = Stream::default();
        let pieces: String = chars.iter().map(|c| stream.push(&c.to_string())).collect();
        prop_assert_eq!(pieces + &stream.finish(), shown);
        prop_assert!(!line(&text).to_string().contains(['\n', '\t']));
    }
}
