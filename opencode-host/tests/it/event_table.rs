//! The table of events in `tracer.rs` is what is emitted: each name and field of it, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

type Fields = BTreeSet<String>;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The table, by event.
pub(crate) static TABLE: LazyLock<BTreeMap<String, Fields>> = LazyLock::new(|| {
    let page = std::fs::read_to_string(Path::new(SOURCE).join("tracer.rs")).unwrap();
    let quoted = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let rows = page.lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = cells[0].trim_end_matches('`').to_owned();
        (name, quoted(cells[2]).into_iter().collect())
    })
    .collect()
});

/// The source files of the crate.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.file_name().is_some_and(|name| name != "tracer.rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The arguments of a call whose opening bracket stands before `text`.
fn arguments(text: &str) -> &str {
    let (mut depth, mut in_text) = (1, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => in_text = !in_text,
            b'(' | b'[' | b'{' if !in_text => depth += 1,
            b')' | b']' | b'}' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    return &text[..at];
                }
            }
            _ => {}
        }
    }
    text
}

/// What is passed to `Telemetry::event` as literals.
fn emitted() -> BTreeMap<String, Fields> {
    let mut found = Vec::new();
    sources(Path::new(SOURCE), &mut found);
    let mut emitted: BTreeMap<String, Fields> = BTreeMap::new();
    for text in &found {
        for (at, call) in text.match_indices(".event(") {
            let arguments = arguments(&text[at + call.len()..]).trim_start();
            let Some((name, rest)) = arguments
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'))
            else {
                continue;
            };
            let fields = rest.split('(').filter_map(|field| {
                let name = field.trim_start().strip_prefix('"')?.split_once('"')?;
                name.1.starts_with(',').then(|| name.0.to_owned())
            });
            emitted.entry(name.to_owned()).or_default().extend(fields);
        }
    }
    // Of two events the name is a variable there; the end of a turn is a record in the store.
    for name in [
        "response.recovered_from_exchange",
        "response.waiting_for_final_text",
        "turn.finished",
    ] {
        let literal = format!("\"{name}\"");
        assert!(found.iter().any(|text| text.contains(&literal)), "{name}");
        emitted.insert(name.to_owned(), TABLE[name].clone());
    }
    emitted
}

#[test]
fn the_table_of_events_is_what_is_emitted() {
    let emitted = emitted();
    assert!(emitted.len() > 15, "{emitted:#?}");
    assert_eq!(*TABLE, emitted);
}

/// What an event has that its row of the table has not. Every event of every test is compared.
pub(crate) fn unknown_of(
    name: &str,
    fields: &serde_json::Map<String, serde_json::Value>,
) -> Fields {
    let Some(known) = TABLE.get(name) else {
        return Fields::from([name.to_owned()]);
    };
    let fields = fields.keys().filter(|field| !known.contains(*field));
    fields.cloned().collect()
}
