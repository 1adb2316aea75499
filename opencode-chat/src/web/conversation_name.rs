//! Names of conversations that begin in the browser.
//!
//! A name is the prompt's first words and a short tag that comes from the form
//! it was sent with: the same form sent twice opens the same conversation, and
//! the same words sent from two forms open two.

/// Characters of the words.
const WORDS: usize = 60;
/// Characters of the tag.
const TAG: usize = 6;
const SEPARATOR: &str = " · ";
/// No vowels, so that no words come out.
const DIGITS: &[u8; 20] = b"bcdfghjkmnpqrstvwxyz";

/// The name of a conversation that begins with `prompt`, sent with this form key.
pub(crate) fn of(prompt: &str, key: &str) -> String {
    let mut hash = crate::web::fnv1a::fnv1a(key.as_bytes());
    let tag: String = std::iter::repeat_with(|| {
        let digit = DIGITS[(hash % 20) as usize];
        hash /= 20;
        char::from(digit)
    })
    .take(TAG)
    .collect();
    format!("{}{SEPARATOR}{tag}", first_words(prompt))
}

/// The name as people read it.
pub(crate) fn shown(name: &str) -> &str {
    match name.rsplit_once(SEPARATOR) {
        Some((words, tag))
            if tag.len() == TAG && tag.bytes().all(|digit| DIGITS.contains(&digit)) =>
        {
            words
        }
        _ => name,
    }
}

fn first_words(prompt: &str) -> String {
    let mut words = String::new();
    for word in prompt
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if words.chars().count() + word.chars().count() >= WORDS {
            let room = WORDS.saturating_sub(words.chars().count() + 2);
            if words.is_empty() {
                words.extend(word.chars().take(room));
            }
            words.push('…');
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    if words.is_empty() {
        "Conversation".to_owned()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_names_one_conversation() {
        let name = of("Explain  monads\nto me", "key-1");
        assert_eq!(name, of("Explain  monads\nto me", "key-1"));
        assert_ne!(name, of("Explain  monads\nto me", "key-2"));
        assert_eq!(shown(&name), "Explain monads to me");
        for other in ["research", "a · b", "notes · 123456", " · "] {
            assert_eq!(shown(other), other);
        }
    }

    #[test]
    fn long_prompts_are_cut_between_words() {
        let name = of(&"word ".repeat(100), "k");
        assert!(shown(&name).ends_with("word…"), "{name}");
        assert!(shown(&name).chars().count() <= WORDS);
        let name = of(&"é".repeat(1000), "k");
        assert!(shown(&name).chars().count() <= WORDS, "{name}");
        assert_eq!(shown(&of(" \n ", "k")), "Conversation");
    }
}
