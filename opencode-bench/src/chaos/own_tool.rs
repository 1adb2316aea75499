//! A tool of the application's: it notes in a file that it runs, and for whom, so that the runs can be counted.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opencode_host::product::HookError;
use opencode_host::tools::{Tool, ToolCall, ToolSet, schemars};
use serde::{Deserialize, Serialize};

/// How long a call takes, for workers to die in.
const LONG: Duration = Duration::from_millis(150);

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(crate = "opencode_host::tools::schemars")]
struct Args {
    prompt: String,
    number: usize,
}

/// One run of the tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Run {
    prompt: String,
    number: usize,
    conversation: String,
    turn: String,
}

/// Where the runs are noted, beside the folder of the sandboxes.
pub(crate) fn notes(sandboxes: &Path) -> PathBuf {
    sandboxes.with_file_name("runs.jsonl")
}

/// The tool, in a set.
pub(crate) fn own_tools(notes: PathBuf) -> ToolSet {
    let note = async move |args: Args, call: ToolCall| {
        let run = Run {
            prompt: args.prompt,
            number: args.number,
            conversation: call.conversation.id.to_string(),
            turn: call.turn.to_string(),
        };
        let line = format!("{}\n", serde_json::to_string(&run)?);
        // One write, so that a process that is killed leaves whole lines.
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&notes)?;
        file.write_all(line.as_bytes())?;
        tokio::time::sleep(LONG).await;
        Ok::<_, HookError>("noted")
    };
    ToolSet::new().tool(Tool::new("note", "Notes that it was called.", note))
}

/// For whom each call ran, as often as it did: by prompt and number, the conversation and the turn.
#[derive(Debug, Default)]
pub(crate) struct Runs(HashMap<(String, usize), Vec<(String, String)>>);

impl Runs {
    /// Reads what was noted.
    pub(crate) fn read(notes: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(notes) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let mut runs = Self::default();
        for line in text.lines() {
            let run: Run = serde_json::from_str(line)?;
            let by = runs.0.entry((run.prompt, run.number)).or_default();
            by.push((run.conversation, run.turn));
        }
        Ok(runs)
    }

    /// For whom a call ran.
    pub(crate) fn of(&self, prompt: &str, number: usize) -> &[(String, String)] {
        let found = self.0.get(&(prompt.to_owned(), number));
        found.map_or(&[], Vec::as_slice)
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}
