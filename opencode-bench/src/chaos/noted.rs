//! What the application's own code noted and what an endpoint heard, against the rows.

use std::collections::BTreeSet;
use std::fmt;

use opencode_host::store::{Message, Turn};

use crate::crowd::Asked;
use crate::endpoint::Heard;
use crate::notes::Notes;
use crate::own_hooks::Calls;
use crate::own_tool::Runs;

/// All that was noted and heard.
#[derive(Debug)]
pub(crate) struct Noted {
    runs: Runs,
    calls: Calls,
    heard: Heard,
}

impl Noted {
    pub(crate) fn read(notes: &Notes, heard: Heard) -> anyhow::Result<Self> {
        let notes = notes.all()?;
        Ok(Self {
            runs: Runs::of(&notes),
            calls: Calls::of(&notes),
            heard,
        })
    }

    /// What is wrong of a turn that has ended.
    pub(crate) fn judge(&mut self, asked: &Asked, turn: &Turn, message: &Message) -> Vec<String> {
        let mut wrong = self.runs.judge(asked, turn, message);
        wrong.extend(self.calls.judge(asked, message));
        wrong.extend(self.heard.judge(asked, message));
        wrong
    }

    /// What is wrong beside the turns that were asked.
    pub(crate) fn strangers(&self, all: &[Asked]) -> Vec<String> {
        let known: BTreeSet<_> = all.iter().map(|asked| asked.turn.to_string()).collect();
        let mut wrong = self.calls.strangers(&known);
        wrong.extend(self.heard.strangers(&known));
        wrong
    }

    /// How many calls of the tool ran, and how many of them were cut off.
    pub(crate) fn runs(&self) -> (usize, usize) {
        (self.runs.count(), self.runs.cut_off)
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ran, cut_off) = self.runs();
        let (webhooks, again) = self.heard.count();
        write!(
            f,
            "{ran} runs of the tool, {cut_off} cut off; {} calls of hooks; {webhooks} webhooks, {again} of them again",
            self.calls.count()
        )
    }
}
