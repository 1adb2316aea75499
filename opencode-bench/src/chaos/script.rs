//! What is asked, what the server answers, and what must come of it.

use opencode_impostor::{Delivery, ModelScript, Round, Script, Step, Streamed};
use serde_json::json;

/// The application's own tool, as a model is told it.
pub(crate) const OWN_TOOL: &str = "app_note";

/// How often it is called in an answer.
pub(crate) const OWN_CALLS: usize = 2;

/// What kind of answer a turn gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Brief,
    Long,
    Reasoning,
    Tools,
    Question,
    Permission,
    Subtask,
    Plan,
    /// Calls of the application's own tool, delivered twice.
    Own,
    File,
    Retry,
    /// The provider fails after half an answer.
    Fails,
}

/// The common ones more than once.
pub(crate) const MIX: [Kind; 18] = [
    Kind::Brief,
    Kind::Brief,
    Kind::Brief,
    Kind::Long,
    Kind::Long,
    Kind::Long,
    Kind::Reasoning,
    Kind::Tools,
    Kind::Tools,
    Kind::Question,
    Kind::Permission,
    Kind::Subtask,
    Kind::Plan,
    Kind::Own,
    Kind::Own,
    Kind::File,
    Kind::Retry,
    Kind::Fails,
];

impl Kind {
    /// The word in the prompt that asks for it.
    fn marker(self) -> &'static str {
        match self {
            Self::Brief => "[[brief]]",
            Self::Long => "[[longer]]",
            Self::Reasoning => "[[think]]",
            Self::Tools => "[[tools]]",
            Self::Question => "[[ask]]",
            Self::Permission => "[[may]]",
            Self::Subtask => "[[delegate]]",
            Self::Plan => "[[plan]]",
            Self::Own => "[[own]]",
            Self::File => "[[file]]",
            Self::Retry => "[[again]]",
            Self::Fails => "[[fails]]",
        }
    }

    /// The prompt of the turn with this name.
    pub(crate) fn prompt(self, name: &str) -> String {
        format!("{name} {}", self.marker())
    }

    /// The texts of a whole answer, in order; `{{prompt}}` stands for the prompt.
    fn texts(self) -> &'static [&'static str] {
        const WHOLE: &str = "Here is what I have to say about {{prompt}}: yes.";
        const LONG: &str = "A long answer to {{prompt}} begins here. It goes on, sentence after sentence, each as \
            empty as the one before, so that there is time enough for processes to die in the middle of it, for \
            servers to come back with nothing, and for another worker to take the turn up where the last one wrote \
            it down. Naïve cuts through a character — 日本語, 👩‍👩‍👧 — would show here. It ends at last.";
        const FIRST: &str = "Let me look into {{prompt}} first.";
        const THEN: &str = "That was all of {{prompt}}.";
        match self {
            Self::Brief | Self::Reasoning | Self::File | Self::Retry | Self::Plan => &[WHOLE],
            Self::Long => &[LONG],
            Self::Fails => &[FIRST],
            Self::Tools | Self::Own | Self::Question | Self::Permission | Self::Subtask => {
                &[FIRST, THEN]
            }
        }
    }

    /// The text of a whole answer to this prompt.
    pub(crate) fn text(self, prompt: &str) -> String {
        self.texts().join("\n\n").replace("{{prompt}}", prompt)
    }

    fn steps(self) -> Vec<Step> {
        let said = |text: &str| Step::Text(Streamed::new(text).chunk_chars(6).delay_ms(20));
        let mut texts = self.texts().iter().map(|text| said(text));
        let mut text = || texts.next().unwrap_or(Step::Empty);
        let read = |path: &str| Step::tool("read", json!({"filePath": path}), "one line");
        match self {
            Self::Brief | Self::Long => vec![text()],
            Self::Reasoning => vec![
                Step::Reasoning(Streamed::new("This needs a thought or two.").delay_ms(20)),
                text(),
            ],
            Self::Tools => vec![
                text(),
                read("/a"),
                Step::Sleep(150),
                Step::Parallel(vec![read("/b"), read("/c")]),
                text(),
            ],
            Self::Own => {
                let note = |number: usize, delivery| {
                    let input = json!({"prompt": "{{prompt}}", "number": number});
                    Step::mcp_delivered(OWN_TOOL, input, delivery)
                };
                vec![
                    text(),
                    note(0, Delivery::Twice),
                    Step::Sleep(150),
                    note(1, Delivery::AnswerLost),
                    text(),
                ]
            }
            Self::Question => vec![text(), Step::question("Go on?", ["Yes", "No"]), text()],
            Self::Permission => vec![text(), Step::ask_bash("ls", "nothing"), text()],
            Self::Subtask => {
                let child = said("A child says this.");
                vec![
                    text(),
                    Step::subtask("Look closer", [read("/d"), child]),
                    text(),
                ]
            }
            Self::Plan => vec![
                Step::todos([("Think", "completed"), ("Write", "in_progress")]),
                text(),
            ],
            Self::File => vec![Step::write_file("notes.txt", "written down"), text()],
            Self::Retry => vec![
                Step::Retry(opencode_impostor::Retry {
                    attempts: 2,
                    message: "too many requests".to_owned(),
                    next_ms: 150,
                    ..Default::default()
                }),
                text(),
            ],
            Self::Fails => vec![text(), Step::provider_error(503, "out of order")],
        }
    }
}

/// The answers to all kinds.
pub(crate) fn script() -> Script {
    MIX.iter().fold(Script::new(), |script, kind| {
        script.on(kind.marker(), kind.steps())
    })
}

/// What a model says to a real OpenCode where it calls the application's tool: all texts of the answer, and the calls
/// between them.
pub(crate) fn model_script() -> ModelScript {
    let [first, then] = [0, 1].map(|number| Kind::Own.texts()[number]);
    let call =
        |number: usize| Round::call(OWN_TOOL, json!({"prompt": "{{prompt}}", "number": number}));
    let slow = |round: Round| Round {
        chunk_chars: 6,
        delay_ms: 20,
        ..round
    };
    let rounds = [call(0).saying(first), call(1), Round::text(then)];
    ModelScript::new().on(Kind::Own.marker(), rounds.map(slow))
}
