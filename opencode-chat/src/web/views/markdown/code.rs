//! Code with its language, a button that copies it, and its words coloured by classes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use comrak::nodes::NodeCodeBlock;
use opencode_host::visible::line;
use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};

use crate::web::views::markdown::html::{element, escape};

/// More bytes than these are shown without colours: the grammars are slow.
const MAX_COLOURED: usize = 16 << 10;
/// Bytes of coloured code that are kept, so that it is coloured once however often it is shown.
const MAX_KEPT: usize = 8 << 20;
/// Behind a line of more bytes nothing is coloured: it is data.
const MAX_LINE: usize = 4 << 10;
/// Characters of a language's name.
const MAX_NAME: usize = 30;

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(two_face::syntax::extra_newlines);

/// What scopes of a grammar are shown as, the first that fits. No class: as text.
static CLASSES: LazyLock<Vec<(Scope, &'static str)>> = LazyLock::new(|| {
    let classes = [
        ("comment", "c"),
        ("meta.interpolation", ""),
        ("string", "s"),
        ("constant.character.escape", "n"),
        ("constant", "n"),
        ("keyword.operator", ""),
        ("keyword", "k"),
        ("storage", "k"),
        ("variable.language", "k"),
        ("entity.name.tag", "k"),
        ("entity.name.function", "f"),
        ("variable.function", "f"),
        ("support.function", "f"),
        ("entity.other.attribute-name", "f"),
        ("entity.name", "t"),
        ("support.type", "t"),
        ("support.class", "t"),
        ("markup.heading", "k"),
        ("markup.inserted", "i"),
        ("markup.deleted", "d"),
    ];
    let known = |(scope, class)| Some((Scope::new(scope).ok()?, class));
    classes.into_iter().filter_map(known).collect()
});

/// A block of code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Code {
    /// As the fence has it: the first word.
    language: String,
    text: String,
    /// Whether its end has come.
    is_closed: bool,
}

impl Code {
    pub(super) fn of(code: &NodeCodeBlock) -> Self {
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '{' | ':');
        let language = code.info.split(ends).next().unwrap_or_default();
        Self {
            language: language.to_owned(),
            text: code.literal.clone(),
            is_closed: code.closed || !code.fenced,
        }
    }

    /// The block. Without a script there is nobody who copies: the button is hidden then.
    pub(super) fn html(&self) -> String {
        let mut html = "<div class=\"code\"><div class=\"code-head\">".to_owned();
        let name: String = line(&self.language)
            .to_string()
            .chars()
            .take(MAX_NAME)
            .collect();
        element(&mut html, "span", "language", &name);
        html.push_str(
            "<button type=\"button\" class=\"copy\">Copy</button></div><pre tabindex=\"0\"><code>",
        );
        match self.coloured() {
            Some(coloured) => html.push_str(&coloured),
            None => escape(&mut html, &self.text),
        }
        html.push_str("</code></pre></div>\n");
        html
    }

    /// Its text in colours, once it is whole: what grows is rendered over and over.
    fn coloured(&self) -> Option<Arc<str>> {
        if !self.is_closed || self.text.len() > MAX_COLOURED {
            return None;
        }
        let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().all.get(self) {
            return Some(Arc::clone(known));
        }
        let html: Arc<str> = coloured(&self.language, &self.text)?.into();
        let mut kept = kept();
        kept.bytes += self.text.len() + html.len();
        if kept.bytes > MAX_KEPT {
            *kept = Kept::default();
            kept.bytes = self.text.len() + html.len();
        }
        kept.all.insert(self.clone(), Arc::clone(&html));
        Some(html)
    }
}

/// Code that was coloured, and how many bytes it is together.
#[derive(Default)]
struct Kept {
    all: HashMap<Code, Arc<str>>,
    bytes: usize,
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// A text in colours; `None` for a language that nobody knows.
fn coloured(language: &str, text: &str) -> Option<String> {
    let syntax = syntax(language)?;
    let mut state = ParseState::new(syntax);
    let mut stack = ScopeStack::new();
    let mut out = Spans::default();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at(end);
        if line.len() > MAX_LINE {
            break;
        }
        rest = behind;
        let mut from = 0;
        for (at, change) in state.parse_line(line, &SYNTAXES).ok()? {
            out.push(class(&stack), line.get(from..at)?);
            from = at;
            stack.apply(&change).ok()?;
        }
        out.push(class(&stack), &line[from..]);
    }
    out.push("", rest);
    Some(out.done())
}

fn syntax(language: &str) -> Option<&'static SyntaxReference> {
    if language.is_empty() {
        return None;
    }
    // Names that models write, and the grammars do not know.
    let known = match language.to_ascii_lowercase().as_str() {
        "console" | "shell" | "shellsession" | "zsh" => "bash",
        "jsonc" | "json5" | "jsonl" => "json",
        "c#" => "cs",
        "golang" => "go",
        "docker" => "dockerfile",
        "text" | "txt" | "plaintext" => return None,
        _ => language,
    };
    SYNTAXES.find_syntax_by_token(known)
}

/// The class of what stands inside these scopes: the innermost decides that is known.
fn class(stack: &ScopeStack) -> &'static str {
    let of = |scope: &Scope| {
        let mut classes = CLASSES.iter();
        classes.find(|(known, _)| known.is_prefix_of(*scope))
    };
    let mut scopes = stack.as_slice().iter().rev();
    scopes.find_map(of).map_or("", |(_, class)| *class)
}

/// Text with classes, those beside each other joined.
#[derive(Default)]
struct Spans {
    html: String,
    class: &'static str,
    text: String,
}

impl Spans {
    fn push(&mut self, class: &'static str, text: &str) {
        if text.is_empty() {
            return;
        }
        // White space has no colour of its own.
        if class != self.class && !text.trim().is_empty() {
            self.flush();
            self.class = class;
        }
        self.text.push_str(text);
    }

    fn flush(&mut self) {
        match self.class {
            _ if self.text.is_empty() => {}
            "" => escape(&mut self.html, &self.text),
            class => element(&mut self.html, "span", class, &self.text),
        }
        self.text.clear();
    }

    fn done(mut self) -> String {
        self.flush();
        self.html
    }
}
