//! What a sub-agent has done so far, one line a step.

use opencode_host::client::reply::{Change, PersistedPart};

use super::tool;

/// Steps that are kept; older ones are counted.
const MAX_STEPS: usize = 32;
/// Bytes of a text that are kept, the newest.
const MAX_TEXT: usize = 160;

/// The steps of one subtask, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    forgotten: usize,
}

#[derive(Clone, Debug)]
struct Step {
    key: String,
    line: String,
}

impl Steps {
    /// The newest `limit` lines, and how many came before them.
    pub(super) fn newest(&self, limit: usize) -> (usize, impl Iterator<Item = &str>) {
        let from = self.steps.len().saturating_sub(limit);
        (
            self.forgotten + from,
            self.steps[from..].iter().map(|step| step.line.as_str()),
        )
    }

    /// Takes a change of the child's reply.
    pub(super) fn apply(&mut self, change: &Change<'_>) {
        match change {
            Change::PartAdded { part_id, part }
            | Change::PartReplaced { part_id, part }
            | Change::PartFinal { part_id, part }
            | Change::Tool { part_id, part } => self.put(part_id, part),
            Change::PartDelta { part_id, delta, .. } => self.grow(part_id, delta),
            Change::PartRemoved { part_id } => self.steps.retain(|step| step.key != *part_id),
            Change::Snapshot { parts } => {
                *self = Self::default();
                for part in parts {
                    self.put(&part.part_id, &part.part);
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, key: &str, part: &PersistedPart) {
        let line = match part {
            PersistedPart::Text { content } | PersistedPart::Reasoning { content } => {
                end_of(content)
            }
            PersistedPart::Tool(part) => tool::one_line(part),
        };
        self.step(key).line = line;
    }

    fn grow(&mut self, key: &str, delta: &str) {
        let step = self.step(key);
        step.line = end_of(&format!("{}{delta}", step.line));
    }

    fn step(&mut self, key: &str) -> &mut Step {
        let at = match self.steps.iter().rposition(|step| step.key == key) {
            Some(at) => at,
            None => {
                if self.steps.len() == MAX_STEPS {
                    self.steps.remove(0);
                    self.forgotten += 1;
                }
                self.steps.push(Step {
                    key: key.to_owned(),
                    line: String::new(),
                });
                self.steps.len() - 1
            }
        };
        &mut self.steps[at]
    }
}

/// The newest words of a text.
fn end_of(text: &str) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(MAX_TEXT));
    if from == 0 {
        text.to_owned()
    } else {
        format!("…{}", text[from..].trim_start_matches('…'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_steps_are_kept_and_the_others_counted() {
        let mut steps = Steps::default();
        for number in 0..MAX_STEPS + 5 {
            let part = PersistedPart::Text {
                content: format!("step {number}"),
            };
            steps.apply(&Change::PartAdded {
                part_id: format!("p{number}").into(),
                part,
            });
        }
        steps.apply(&Change::PartDelta {
            part_id: "p36".into(),
            kind: "text".into(),
            delta: " goes on".into(),
        });
        let (earlier, newest) = steps.newest(2);
        assert_eq!(
            (earlier, newest.collect::<Vec<_>>()),
            (MAX_STEPS + 3, vec!["step 35", "step 36 goes on"])
        );
    }

    #[test]
    fn a_long_text_shows_its_end() {
        let mut steps = Steps::default();
        for _ in 0..100 {
            steps.apply(&Change::PartDelta {
                part_id: "p".into(),
                kind: "text".into(),
                delta: "wörds ".into(),
            });
        }
        let line = steps.newest(1).1.next().unwrap().to_owned();
        assert!(
            line.starts_with('…') && line.ends_with("wörds ") && line.len() < MAX_TEXT + 8,
            "{line}"
        );
    }
}
