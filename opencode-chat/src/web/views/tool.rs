//! A tool call as one row of the answer, with what it did folded away behind it.

use std::path::Path;

use askama::Template;
use opencode_host::client::reply::{PersistedPart, ToolPart, View as ReplyView};
use opencode_host::tool_display::{Diff, Icon, TodoStatus, ToolDisplay, View};
use opencode_host::visible::short;

use super::markdown::{self, Block};
use crate::attached;

/// Bytes of an output or a file that are shown.
const MAX_TEXT: usize = 16 << 10;
/// Lines of a diff that are shown.
const MAX_DIFF_LINES: usize = 400;
/// A diff of so few lines is shown unfolded.
const SHORT_DIFF: usize = 20;
/// Characters of what a tool works on.
const MAX_TARGET: usize = 160;
/// Files beside an output that are shown.
const MAX_ATTACHED: usize = 8;
/// Steps of a subtask that are shown while it runs.
const MAX_STEPS: usize = 6;
/// Steps of a subtask that are shown once it has ended.
const MAX_KEPT_STEPS: usize = 200;
/// Bytes of a text that are shown of a step, the newest.
const MAX_STEP: usize = 160;

/// One tool call.
#[derive(Clone, Debug, Template)]
#[template(path = "tool.html")]
pub(crate) struct ToolView {
    /// The element, where it may change.
    pub(crate) id: Option<String>,
    icon: &'static str,
    state: &'static str,
    /// "Reading", "Read", or the whole title of a tool that nobody described.
    verb: String,
    target: Option<String>,
    /// Counts, such as `+3 −1`.
    note: Option<String>,
    error: Option<String>,
    todos: Vec<TodoView>,
    folded: Vec<Folded>,
    open: bool,
    /// Files that came beside the output.
    attached: Vec<AttachedView>,
    /// What a sub-agent does, newest last.
    steps: Vec<String>,
    earlier_steps: usize,
}

#[derive(Clone, Debug)]
struct TodoView {
    class: &'static str,
    state: &'static str,
    mark: &'static str,
    content: String,
}

/// A file that came beside the output.
#[derive(Clone, Debug)]
struct AttachedView {
    words: String,
    /// Where a browser finds it, if it is a picture that is shown.
    picture: Option<String>,
}

/// What is folded away behind the row.
#[derive(Clone, Debug)]
enum Folded {
    /// Changed lines of one file.
    Diff {
        path: Option<String>,
        lines: Vec<DiffLine>,
        more: usize,
    },
    /// A text, such as an output.
    Text {
        label: &'static str,
        text: String,
        cut: bool,
    },
    /// What ran in the shell.
    Command { text: String, cut: bool },
    /// What a sub-agent has done, newest last.
    Steps { steps: Vec<String>, earlier: usize },
    /// What a sub-agent answered, as the blocks of its Markdown.
    Answer { blocks: Vec<String>, cut: bool },
}

#[derive(Clone, Debug)]
struct DiffLine {
    kind: &'static str,
    text: String,
}

impl ToolView {
    /// A call as it is now; paths inside `folder` are shown relative to it.
    pub(crate) fn of(part: &ToolPart, folder: Option<&str>) -> Self {
        let attached = part.attachments.iter().take(MAX_ATTACHED);
        let attached = attached.map(|attachment| AttachedView {
            words: attached::words(attachment),
            picture: attached::picture(attachment),
        });
        Self {
            attached: attached.collect(),
            ..Self::shown(part, folder)
        }
    }

    fn shown(part: &ToolPart, folder: Option<&str>) -> Self {
        let mut display = ToolDisplay::of(part);
        if let Some(folder) = folder {
            display = display.relative_to(folder);
        }
        let done = display.is_terminal();
        let (verb, target) = if display.is_known() {
            let verb = if done {
                display.past_tense()
            } else {
                display.gerund()
            };
            (
                verb,
                match folder {
                    Some(folder) => display.target_in(folder),
                    None => display.target(),
                },
            )
        } else {
            (display.title(), None)
        };
        let diff = display.diff();
        let folded = folded(&display, diff.as_ref(), folder);
        let lines: usize = folded
            .iter()
            .map(|part| {
                if let Folded::Diff { lines, .. } = part {
                    lines.len()
                } else {
                    0
                }
            })
            .sum();
        Self {
            id: None,
            icon: icon(display.icon()),
            state: if display.is_errored() {
                "failed"
            } else if done {
                "done"
            } else {
                "running"
            },
            verb: verb.into_owned(),
            target: target.map(|target| short(&target, MAX_TARGET)),
            note: note(&display, diff.as_ref()),
            error: display.error().map(|error| cut(error, 400).0.to_owned()),
            todos: display.todos().iter().map(TodoView::of).collect(),
            open: lines > 0 && lines <= SHORT_DIFF,
            folded,
            attached: Vec::new(),
            steps: Vec::new(),
            earlier_steps: 0,
        }
    }

    /// Shows what its sub-agent has done so far: below the row while it works, folded away behind it then.
    pub(crate) fn set_steps(&mut self, subtask: Option<&ReplyView>, folder: Option<&str>) {
        let Some(subtask) = subtask else { return };
        let is_running = self.state == "running";
        let most = if is_running {
            MAX_STEPS
        } else {
            MAX_KEPT_STEPS
        };
        let earlier = subtask.parts().len().saturating_sub(most);
        let newest = subtask.parts().skip(earlier);
        let steps = newest.map(|step| one_line(&step.part, folder));
        let steps: Vec<_> = steps.collect();
        if is_running {
            self.earlier_steps = earlier;
            self.steps = steps;
        } else if !steps.is_empty() {
            self.folded.insert(0, Folded::Steps { steps, earlier });
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        let folded = self.folded.iter().map(|part| match part {
            Folded::Diff { lines, .. } => lines.iter().map(|line| line.text.len()).sum(),
            Folded::Text { text, .. } | Folded::Command { text, .. } => text.len(),
            Folded::Steps { steps: words, .. } | Folded::Answer { blocks: words, .. } => {
                words.iter().map(String::len).sum()
            }
        });
        let attached = self.attached.iter().map(|file| {
            file.words.len() + file.picture.as_ref().map_or(0, |picture| picture.len())
        });
        512 + folded.sum::<usize>()
            + attached.sum::<usize>()
            + self
                .todos
                .iter()
                .map(|todo| todo.content.len())
                .sum::<usize>()
    }
}

/// One line about a step of a sub-agent.
fn one_line(part: &PersistedPart, folder: Option<&str>) -> String {
    match part {
        PersistedPart::Text { content } | PersistedPart::Reasoning { content } => {
            let from = content.ceil_char_boundary(content.len().saturating_sub(MAX_STEP));
            let more = if from > 0 { "…" } else { "" };
            format!("{more}{}", &content[from..])
        }
        PersistedPart::Tool(tool) => {
            let display = ToolDisplay::of(tool);
            match folder {
                Some(folder) => display.relative_to(folder).to_string(),
                None => display.to_string(),
            }
        }
    }
}

impl TodoView {
    fn of(todo: &opencode_host::tool_display::Todo<'_>) -> Self {
        let (class, state, mark) = match &todo.status {
            TodoStatus::InProgress => ("under-way", "in progress", "◐"),
            TodoStatus::Pending => ("pending", "pending", "○"),
            TodoStatus::Completed => ("completed", "completed", "✓"),
            TodoStatus::Other(_) => ("dropped", "dropped", "–"),
        };
        Self {
            class,
            state,
            mark,
            content: cut(todo.content, 400).0.to_owned(),
        }
    }
}

fn folded(display: &ToolDisplay<'_>, diff: Option<&Diff<'_>>, folder: Option<&str>) -> Vec<Folded> {
    let text = |label, text: &str| {
        let (text, cut) = cut(text.trim_end_matches('\n'), MAX_TEXT);
        // Colours of a terminal are none here.
        let text = anstream::adapter::strip_str(text).to_string();
        Folded::Text { label, text, cut }
    };
    if let Some(diff) = diff {
        return diff
            .files()
            .iter()
            .map(|file| diff_of(file.path, file.patch, diff.files().len() > 1, folder))
            .collect();
    }
    let mut folded = Vec::new();
    if let Some(command) = display.command() {
        let (text, cut) = cut(command.trim_end_matches('\n'), MAX_TEXT);
        folded.push(Folded::Command {
            text: text.to_owned(),
            cut,
        });
    }
    if let Some(content) = display.file_content() {
        folded.push(text("Content", content));
    } else if let Some(preview) = display.read_preview() {
        folded.push(text("Beginning", preview));
    } else if display.canonical() == "task"
        && let Some(said) = display.output()
    {
        let (said, cut) = cut(said, MAX_TEXT);
        let blocks = markdown::blocks(said);
        let blocks = blocks.iter().map(Block::html).collect();
        folded.push(Folded::Answer { blocks, cut });
    } else if display.view() != View::Todos
        && let Some(output) = display.output()
    {
        folded.push(text("Output", output));
    }
    folded
}

fn diff_of(path: Option<&str>, patch: &str, named: bool, folder: Option<&str>) -> Folded {
    let mut lines = Vec::new();
    let (mut more, mut in_hunk) = (0, false);
    // A carriage return at a line's end is shown: it may be the change.
    for line in patch.strip_suffix('\n').unwrap_or(patch).split('\n') {
        let kind = match line.as_bytes().first() {
            _ if line.starts_with("@@") => "hunk",
            Some(b'+') if in_hunk => "added",
            Some(b'-') if in_hunk => "removed",
            _ if in_hunk => "same",
            // The names of the files: shown once, above.
            _ => continue,
        };
        in_hunk = true;
        if lines.len() == MAX_DIFF_LINES {
            more += 1;
        } else {
            lines.push(DiffLine {
                kind,
                text: cut(line, 1000).0.to_owned(),
            });
        }
    }
    let path = path.filter(|_| named).map(|path| match folder {
        Some(folder) => Path::new(path)
            .strip_prefix(folder)
            .ok()
            .and_then(Path::to_str)
            .unwrap_or(path)
            .to_owned(),
        None => path.to_owned(),
    });
    Folded::Diff { path, lines, more }
}

fn note(display: &ToolDisplay<'_>, diff: Option<&Diff<'_>>) -> Option<String> {
    if let Some(diff) = diff {
        return Some(format!("+{} −{}", diff.additions(), diff.deletions()));
    }
    let matches = display.match_count()?;
    Some(if matches == 1 {
        "1 match".to_owned()
    } else {
        format!("{matches} matches")
    })
}

fn icon(icon: Icon) -> &'static str {
    match icon {
        // A product's own icons are not in this application's sheet.
        Icon::Named(_) => Icon::Sparkles.as_str(),
        icon => icon.as_str(),
    }
}

/// At most `limit` bytes, and whether there was more.
fn cut(text: &str, limit: usize) -> (&str, bool) {
    (&text[..text.floor_char_boundary(limit)], text.len() > limit)
}
