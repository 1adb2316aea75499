//! One tool call as people read it: "Reading notes.md", an icon, a diff, the plan.
//!
//! [`ToolDisplay`] is a view-model over one tool part, live or persisted, for any renderer: a page, a
//! terminal, a log. It borrows the part and computes what is asked, so that it costs nothing to make.
//!
//! It is made of a [`ToolPart`](opencode_client::reply::ToolPart), or of one in the JSON of a row. A part comes from outside. Whatever it holds, nothing here panics: a field that is missing or of
//! another type is treated as absent. **Nothing here is escaped**: texts are the agent's, and a page
//! must escape them. Titles and the `Display` form are one line without control characters.
//!
//! ```
//! use opencode_host::tool_display::ToolDisplay;
//! use serde_json::json;
//!
//! let part = json!({
//!     "type": "tool", "tool": "read", "status": "completed",
//!     "input": {"filePath": "/srv/sandboxes/c1/notes.md"},
//! });
//! let display = ToolDisplay::of(&part).relative_to("/srv/sandboxes/c1");
//! assert_eq!(display.to_string(), "Read notes.md");
//! assert_eq!(display.icon().as_str(), "document");
//! assert_eq!(display.language(), Some("markdown"));
//! ```

mod call;
mod diff;
mod icon;
mod language;
mod registry;
mod text;
mod todo;

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path};

use serde_json::Value;

pub use call::Call;
pub use diff::{Change, Diff, FileDiff};
pub use icon::Icon;
pub use opencode_client::reply::ToolStatus;
pub use opencode_client::wire::TodoStatus;
pub use registry::{Tool, Tools, View};
pub use todo::Todo;

use self::text::{said, text};
use crate::visible::short;

/// Titles are cut to this many characters: a command may be a whole script.
const TITLE_LIMIT: usize = 200;

/// A view-model over one tool call.
#[derive(Debug, Clone, Copy)]
pub struct ToolDisplay<'a> {
    call: Call<'a>,
    name: &'a str,
    canonical: &'a str,
    tool: Option<&'a Tool>,
    provider: &'a str,
    folder: Option<&'a Path>,
}

impl<'a> ToolDisplay<'a> {
    /// Shows a call with the tools of [`Tools::default`].
    pub fn of(call: impl Into<Call<'a>>) -> Self {
        Self::with_tools(call, Tools::builtin())
    }

    /// Shows a call with a product's own tools.
    pub fn with_tools(call: impl Into<Call<'a>>, tools: &'a Tools) -> Self {
        let call = call.into();
        let name = call.tool();
        let (canonical, server) = tools.canonical(name);
        let tool = tools.get(canonical);
        let provider = server
            .or(tool.map(|tool| tool.provider.as_ref()))
            .unwrap_or(registry::UNKNOWN);
        Self {
            call,
            name,
            canonical,
            tool,
            provider,
            folder: None,
        }
    }

    /// The same, with paths inside `folder` (the conversation's sandbox) shown relative to it.
    pub fn relative_to<P: AsRef<Path> + ?Sized>(mut self, folder: &'a P) -> Self {
        self.folder = Some(folder.as_ref());
        self
    }

    /// The tool's name as the server gave it; empty when it gave none.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The tool's name without what an MCP server put around it.
    pub fn canonical(&self) -> &'a str {
        self.canonical
    }

    /// Is the canonical tool one of the registry's?
    pub fn is_known(&self) -> bool {
        self.tool.is_some()
    }

    /// Who offers the tool: an MCP server, `opencode-builtin`, or `unknown`.
    pub fn provider(&self) -> &'a str {
        self.provider
    }

    /// Which views apply to the tool.
    pub fn view(&self) -> View {
        self.tool.map_or(View::Plain, |tool| tool.view)
    }

    /// A short label: "Read", "Web search". An unknown tool's name, humanised.
    pub fn kind(&self) -> Cow<'a, str> {
        self.label(|tool| &tool.kind)
    }

    /// What it does while it runs: "Reading".
    pub fn gerund(&self) -> Cow<'a, str> {
        self.label(|tool| &tool.gerund)
    }

    /// What it did: "Read".
    pub fn past_tense(&self) -> Cow<'a, str> {
        self.label(|tool| &tool.past)
    }

    /// The picture beside it; [`Icon::Sparkles`] for an unknown tool.
    pub fn icon(&self) -> Icon {
        self.tool.map_or(Icon::Sparkles, |tool| tool.icon)
    }

    /// How far the call is; `None` when the part does not say it in a known word.
    pub fn status(&self) -> Option<ToolStatus> {
        self.call.status()
    }

    /// Announced, not running yet.
    pub fn is_pending(&self) -> bool {
        self.status() == Some(ToolStatus::Pending)
    }

    /// At work.
    pub fn is_running(&self) -> bool {
        self.status() == Some(ToolStatus::Running)
    }

    /// Done.
    pub fn is_completed(&self) -> bool {
        self.status() == Some(ToolStatus::Completed)
    }

    /// Failed, or refused.
    pub fn is_errored(&self) -> bool {
        self.status() == Some(ToolStatus::Error)
    }

    /// Completed or failed: it will not change any more.
    pub fn is_terminal(&self) -> bool {
        self.is_completed() || self.is_errored()
    }

    /// Pending or running.
    pub fn is_in_flight(&self) -> bool {
        self.is_pending() || self.is_running()
    }

    /// What it works on, as the server names it: a path, a command, a query, a question.
    pub fn target(&self) -> Option<Cow<'a, str>> {
        self.target_from(None)
    }

    /// The target, a path inside `folder` being shown relative to it.
    pub fn target_in(&self, folder: impl AsRef<Path>) -> Option<Cow<'a, str>> {
        self.target_from(Some(folder.as_ref()))
    }

    /// What it is doing: "Reading notes.md". An unknown tool's title is the server's, when it gave one.
    pub fn title(&self) -> Cow<'a, str> {
        self.doing("")
    }

    /// What it did: "Read notes.md".
    pub fn past_tense_title(&self) -> Cow<'a, str> {
        self.done("")
    }

    /// What the tool answered; of a running command, what it has printed so far; of a `task`, what its sub-agent said,
    /// without the tags that OpenCode puts around it for the model.
    pub fn output(&self) -> Option<&'a str> {
        let so_far = || {
            self.meta_text("output")
                .filter(|_| self.view() == View::Shell)
        };
        let output = self.call.output().or_else(so_far)?;
        Some(match self.canonical() {
            "task" => text::task_result(output),
            _ => output,
        })
    }

    /// Why it failed.
    pub fn error(&self) -> Option<&'a str> {
        self.call.error()
    }

    /// What an edit or a patch changed.
    pub fn diff(&self) -> Option<Diff<'a>> {
        match self.view() {
            View::Edit => Diff::of_edit(self.call.metadata()?, self.input_target()),
            View::Patch => Diff::of_patch(self.call.metadata()?),
            _ => None,
        }
    }

    /// The plan of a todo tool: in progress first, then pending, completed, and the rest.
    pub fn todos(&self) -> Vec<Todo<'a>> {
        if self.view() != View::Todos {
            return Vec::new();
        }
        // The metadata is the server's word; the input is all there is while it runs.
        let lists = [self.meta("todos"), self.input().get("todos")];
        lists
            .into_iter()
            .flatten()
            .find(|todos| todos.is_array())
            .map(Todo::list)
            .unwrap_or_default()
    }

    /// The whole content a `write` puts into its file.
    pub fn file_content(&self) -> Option<&'a str> {
        (self.view() == View::Write).then(|| self.input().get("content")?.as_str())?
    }

    /// The language of the file it works on, as syntax highlighters name it, by the file's name.
    pub fn language(&self) -> Option<&'static str> {
        match self.view() {
            View::Read | View::Write | View::Edit => language::of_path(self.input_target()?),
            _ => None,
        }
    }

    /// The command a shell tool runs.
    pub fn command(&self) -> Option<&'a str> {
        self.shell(|display| display.input_target())
    }

    /// What a shell command printed, so far.
    pub fn command_output(&self) -> Option<&'a str> {
        self.shell(|display| display.output())
    }

    /// What the agent says the command is for.
    pub fn command_description(&self) -> Option<&'a str> {
        self.shell(|display| text(display.input(), "description"))
    }

    /// The first lines of a file that was read.
    pub fn read_preview(&self) -> Option<&'a str> {
        if self.view() != View::Read {
            return None;
        }
        let shown = || text(self.meta("display")?, "text");
        self.meta_text("preview").or_else(shown)
    }

    /// How many matches a search found (`grep`: lines, `glob`: files).
    pub fn match_count(&self) -> Option<u64> {
        let key = match self.view() {
            View::Grep => "matches",
            View::Glob => "count",
            _ => return None,
        };
        self.meta(key)?.as_u64()
    }

    /// The id of the call, which events name it by.
    pub fn call_id(&self) -> Option<&'a str> {
        self.call.call_id()
    }

    /// The assistant message the call belongs to.
    pub fn message_id(&self) -> Option<&'a str> {
        self.call.message_id()
    }

    fn input(&self) -> &'a Value {
        self.call.input()
    }

    fn meta(&self, key: &str) -> Option<&'a Value> {
        self.call.metadata()?.get(key)
    }

    fn meta_text(&self, key: &str) -> Option<&'a str> {
        self.meta(key).and_then(said)
    }

    fn label(&self, of: impl Fn(&'a Tool) -> &'a Cow<'static, str>) -> Cow<'a, str> {
        match self.tool {
            Some(tool) => Cow::Borrowed(of(tool).as_ref()),
            None => Cow::Owned(humanise(self.canonical)),
        }
    }

    fn shell<T>(&self, of: impl FnOnce(&Self) -> Option<T>) -> Option<T> {
        (self.view() == View::Shell).then(|| of(self))?
    }

    /// The first of the tool's target fields that holds text.
    fn input_target(&self) -> Option<&'a str> {
        let keys = &self.tool?.target;
        keys.iter().find_map(|key| text(self.input(), key))
    }

    fn target_from(&self, folder: Option<&Path>) -> Option<Cow<'a, str>> {
        let shown = |path: &'a str| folder.map_or(path, |folder| relative(path, folder));
        if let Some(target) = self.input_target() {
            return Some(Cow::Borrowed(if self.view().targets_path() {
                shown(target)
            } else {
                target
            }));
        }
        match self.view() {
            View::Patch => match diff::patched_paths(self.input(), self.call.metadata()).as_slice()
            {
                [] => None,
                [one] => Some(Cow::Borrowed(shown(one))),
                several => {
                    let several: Vec<_> = several.iter().map(|path| shown(path)).collect();
                    Some(Cow::Owned(several.join(", ")))
                }
            },
            View::Question => {
                // While it waits, the questions may be known from the request alone.
                let lists = [self.input().get("questions"), self.meta("questions")];
                let mut lists = lists.into_iter().flatten();
                let question = lists.find_map(|questions| questions.get(0))?;
                let words = text(question, "question").or_else(|| text(question, "header"))?;
                Some(Cow::Borrowed(words))
            }
            _ => None,
        }
    }

    fn unknown_title(&self) -> Option<Cow<'a, str>> {
        if self.is_known() {
            return None;
        }
        let given = self.call.title().map(|title| short(title, TITLE_LIMIT));
        Some(match given {
            Some(title) if !title.is_empty() => Cow::Owned(title),
            _ => self.kind(),
        })
    }

    /// "Reading notes.md", but "Searching files: needle"; `quote` stands around a command.
    fn doing(&self, quote: &str) -> Cow<'a, str> {
        let gerund = self.gerund();
        let separator = if gerund.contains(' ') { ": " } else { " " };
        self.sentence(gerund, separator, quote)
    }

    /// "Read notes.md", "Searched for needle".
    fn done(&self, quote: &str) -> Cow<'a, str> {
        self.sentence(self.past_tense(), " ", quote)
    }

    fn sentence(&self, verb: Cow<'a, str>, separator: &str, quote: &str) -> Cow<'a, str> {
        if let Some(title) = self.unknown_title() {
            return title;
        }
        let target = self.target_from(self.folder).unwrap_or_default();
        let target = short(&target, TITLE_LIMIT);
        if target.is_empty() {
            return verb;
        }
        let quote = match self.view() {
            View::Shell => quote,
            _ => "",
        };
        Cow::Owned(format!("{verb}{separator}{quote}{target}{quote}"))
    }

    fn counts(&self) -> String {
        if let Some(diff) = self.diff() {
            return format!(" (+{} -{})", diff.additions(), diff.deletions());
        }
        match self.match_count() {
            Some(1) => " (1 match)".to_owned(),
            Some(count) => format!(" ({count} matches)"),
            None => String::new(),
        }
    }
}

/// One line for a terminal: "Reading notes.md", "Ran `ls -la`", "Edited a.txt (+3 -1)",
/// "Read a.txt failed: File not found: a.txt".
impl fmt::Display for ToolDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_completed() {
            return write!(f, "{}{}", self.done("`"), self.counts());
        }
        if !self.is_errored() {
            return f.write_str(&self.doing("`"));
        }
        write!(f, "{} failed", self.sentence(self.kind(), " ", "`"))?;
        match self.error().and_then(|error| error.trim().lines().next()) {
            Some(line) => write!(f, ": {}", short(line, TITLE_LIMIT)),
            None => Ok(()),
        }
    }
}

/// `path` relative to `folder`, where it lies inside; by name only, nothing is looked up.
fn relative<'a>(path: &'a str, folder: &Path) -> &'a str {
    match Path::new(path).strip_prefix(folder) {
        Ok(inside) if inside.as_os_str().is_empty() => ".",
        // With `..` in it the path may well leave the folder: shown as it is.
        Ok(inside) if !inside.components().any(|c| c == Component::ParentDir) => {
            inside.to_str().unwrap_or(path)
        }
        _ => path,
    }
}

/// `web_fetch` as "Web fetch".
fn humanise(name: &str) -> String {
    let words = short(&name.replace(['_', '-'], " "), TITLE_LIMIT);
    let mut chars = words.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => "Tool".to_owned(),
    }
}
