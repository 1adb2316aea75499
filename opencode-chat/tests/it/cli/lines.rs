//! What programs read, to the byte: the order of fields, what is `null` and what is absent, how numbers are written.

use std::fmt::Write as _;

use opencode_impostor::{Impostor, Script, Step};
use serde_json::json;

use crate::support::{Chat, Ran};

/// What programs printed. What differs from run to run stands as its kind and a number.
#[derive(Default)]
struct Printed {
    known: Vec<String>,
    text: String,
}

impl Printed {
    fn add(&mut self, what: &str, chat: &Chat, ran: &Ran) {
        writeln!(self.text, "# {what}: exit code {}", ran.code).unwrap();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut is_duration = false;
        let data = chat.data().to_str().unwrap();
        // Titles of tools lack the slash.
        let stdout = ran.stdout.replace(&data[1..], "<data>");
        let mut rest = stdout.as_str();
        while let Some(start) = rest.find(is_word) {
            let (between, word) = rest.split_at(start);
            let (word, behind) = word.split_at(word.find(|c| !is_word(c)).unwrap_or(word.len()));
            let shown = match word {
                _ if is_duration => "<duration>".to_owned(),
                _ => self.shown(word),
            };
            self.text += between;
            self.text += &shown;
            is_duration = word == "duration_ms";
            rest = behind;
        }
        self.text += rest;
    }

    fn shown(&mut self, word: &str) -> String {
        let kind = match word.split_once('_') {
            Some((kind @ ("ses" | "msg" | "prt" | "que" | "per" | "call"), _)) => kind,
            _ if uuid::Uuid::parse_str(word).is_ok() => "id",
            _ if word.len() == 13 && word.parse::<u64>().is_ok() => return "<time>".to_owned(),
            _ => return word.to_owned(),
        };
        let at = self.known.iter().position(|known| known == word);
        let at = at.unwrap_or_else(|| {
            self.known.push(word.to_owned());
            self.known.len() - 1
        });
        format!("<{kind} {at}>")
    }
}

#[tokio::test]
async fn what_programs_read_is_what_they_have_always_read() {
    let script = Script::new()
        .on(
            "everything",
            [
                Step::reasoning("Let me think."),
                Step::todos([("Plan", "in_progress"), ("Do", "pending")]),
                Step::text("First words. "),
                Step::write_file("report.md", "# Report\n"),
                Step::question("Which one?", ["Red", "Blue"]),
                Step::ask_bash("make all", "built"),
                Step::tool_error("grep", json!({ "pattern": "(" }), "it has no end"),
                Step::text("Last \u{2028} words: Grüße 👩\u{200d}🚀."),
            ],
        )
        .on("ask", [Step::question("Which one?", ["Red", "Blue"])])
        .then(Script::standard());
    let impostor = Impostor::builder()
        .script(script)
        .usage(0.1, 12, 3)
        .start()
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let mut printed = Printed::default();
    let answers = ["--answer", "Blue", "--permission", "once"];
    printed.add(
        "everything",
        &chat,
        &chat.turn("everything", &answers).await,
    );
    for prompt in ["[[cutoff]]", "[[empty]]", "[[err401]]"] {
        printed.add(prompt, &chat, &chat.turn(prompt, &[]).await);
    }
    printed.add("a question declined", &chat, &chat.turn("ask", &[]).await);
    impostor.assert_clean();

    let queued = chat.run(&["submit", "--json", "later"]).await;
    printed.add("submit", &chat, &queued);
    let turn = queued.lines()[0]["turn_id"].as_str().unwrap().to_owned();
    let cancelled = chat.run(&["cancel", &turn]).await;
    printed.add("cancel", &chat, &cancelled);
    let watched = chat.run(&["watch", "--json", &turn]).await;
    printed.add("watch, cancelled in the queue", &chat, &watched);
    printed.add("show", &chat, &chat.run(&["show", "--json"]).await);
    let nowhere = Chat::at("http://127.0.0.1:9");
    printed.add("no server", &nowhere, &nowhere.turn("hello", &[]).await);
    insta::assert_snapshot!(printed.text);
}
