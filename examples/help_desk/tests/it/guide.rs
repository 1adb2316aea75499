//! `docs/guide.md`, followed word for word from an empty folder: its files are made, its commands run, and what it says
//! that one sees is looked for.
//!
//! What is behind a fence says what its block is: `sh` a command of the first terminal, `sh terminal 3` one that runs on in
//! the third, `text` what is seen then, `text terminal 3` what is seen there, `LANGUAGE FILE` a whole file, `LANGUAGE FILE +
//! LINE` what is added to it below that line. A reader does not see these words: that the paragraph before names terminal,
//! file and line is checked too.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use opencode_impostor::{ModelScript, ModelServer, Round};
use serde_json::json;

use crate::reader::Reader;

#[tokio::test(flavor = "multi_thread")]
async fn followed_word_for_word() {
    let words = "A monad says how steps follow each other.";
    let lookup = Round::call("shop_order", json!({"order": 7}));
    let script = ModelScript::new()
        .on("monads", [Round::text(words)])
        .on("order 7", [lookup, Round::text("It leaves on Monday.")])
        .on("functors", [Round::text("A functor maps.")])
        .on("arrows", [Round::text("An arrow is composed.")]);
    let model = ModelServer::scripted(script).await.unwrap();
    let guide = std::fs::read_to_string(workspace().join("docs/guide.md")).unwrap();
    let reader = tokio::task::spawn_blocking(move || {
        let mut reader = Reader::new(&model);
        for block in blocks(&guide) {
            follow(&mut reader, &block);
        }
        reader
    });
    let reader = reader.await.unwrap();
    // The answers were this model's. The first one came in pieces.
    assert!(reader.has_seen(r#""delta":"A mon"#));
    assert!(reader.has_seen("An arrow is composed."));
}

pub(crate) fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// A fenced block, with the paragraph before it.
#[derive(Default)]
struct Block {
    paragraph: String,
    kind: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut paragraph, mut is_over) = (String::new(), false);
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                open = Some(Block {
                    paragraph: std::mem::take(&mut paragraph),
                    kind: kind.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => writeln!(block.text, "{line}").unwrap(),
            (None, None) if line.is_empty() => is_over = true,
            (None, None) => {
                if std::mem::take(&mut is_over) {
                    paragraph.clear();
                }
                writeln!(paragraph, "{line}").unwrap();
            }
        }
    }
    assert!(open.is_none(), "the guide has a fence without an end");
    blocks
}

/// The terminals, as the guide numbers them.
const ORDINALS: [&str; 6] = ["", "first", "second", "third", "fourth", "fifth"];

fn follow(reader: &mut Reader, block: &Block) {
    let (kind, line) = match block.kind.split_once(" + ") {
        Some((kind, line)) => (kind, Some(line)),
        None => (block.kind.as_str(), None),
    };
    let words: Vec<_> = kind.split(' ').collect();
    let says = |what: &str| {
        let paragraph = &block.paragraph;
        assert!(paragraph.contains(what), "no {what} in: {paragraph}");
    };
    let names = |what: &str| says(&format!("`{what}`"));
    match (&words[..], line) {
        (["sh"], None) => reader.run(&block.text),
        (["sh", "terminal", number], None) => {
            says(ORDINALS[number.parse::<usize>().unwrap()]);
            reader.begin(number, &block.text);
        }
        (["text"], None) => reader.see(&block.text),
        (["text", "terminal", number], None) => {
            says(ORDINALS[number.parse::<usize>().unwrap()]);
            reader.turn_to(number);
            reader.see(&block.text);
        }
        (["rust" | "toml" | "sql", file], None) => {
            names(file);
            reader.write(file, &block.text);
        }
        (["toml", file], Some("end")) => {
            says("the end of");
            names(file);
            reader.add(file, None, &block.text);
        }
        (["rust", file], Some(line)) => {
            names(file);
            names(line);
            reader.add(file, Some(line), &block.text);
        }
        _ => panic!("nobody follows a block of {}", block.kind),
    }
}
