//! What other versions of OpenCode do otherwise, folded in full.
//!
//! Some of these recordings end in the middle of a turn: the server was never heard of again, or was killed. What
//! streamed until then is what is left of such a turn.

use opencode_client::reply::{PersistedPart, ReplyResult, ToolStatus};
use opencode_client::wire::PartBody;

use crate::tape::Tape;
use crate::tapes::{as_rebuilt, fold};

/// What is known of a turn when its recording ends.
#[derive(Debug, PartialEq)]
enum End {
    /// The server never ran it.
    NeverRan,
    /// The events told all that the exchange has.
    Told,
    /// The events ended early; the exchange has the rest.
    MadeUp,
    /// It is under way, and nothing of it is in the exchange but what streamed.
    Unfinished,
}
use End::{MadeUp, NeverRan, Told, Unfinished};

type Expected = (End, &'static str, &'static [ToolStatus]);

const COMPLETED: &[ToolStatus] = &[ToolStatus::Completed];
const PLAIN: &str = "Zwölf Boxkämpfer — 東京 🦀 jagen";

/// The end of each turn, how its text begins, and what its tool calls came to.
fn expected(name: &str) -> Vec<Expected> {
    match name {
        "v1.0.0-no-session-status" | "v1.2.1-absent-message-is-500" => vec![],
        "v1.0.185-permission-reply-unknown-route" => {
            vec![(Unfinished, "", &[ToolStatus::Running])]
        }
        "v1.0.185-session-permission-ignored" => vec![(Told, "shell done", COMPLETED)],
        "v1.0.185-unknown-agent-silent"
        | "v1.1.65-unknown-agent-silent"
        | "v1.2.27-unknown-agent-silent" => vec![(NeverRan, "", &[])],
        "v1.1.11-write-outside-unasked" => vec![(Told, "tried", COMPLETED)],
        "v1.14.48-abort-in-tool-without-directory" => vec![(MadeUp, "shell done", COMPLETED)],
        "v1.14.48-abort-needs-directory" | "v1.18.33-look-swallowed-cancel" => {
            vec![(Told, "tick tick", &[])]
        }
        "v1.14.48-abort-without-directory" | "v1.15.4-abort-without-directory" => {
            vec![(Unfinished, "tick tick", &[])]
        }
        "v1.14.48-prompt-behind-unstopped" | "v1.18.33-prompt-swallowed" => {
            vec![(Told, PLAIN, &[])]
        }
        "v1.17.19-look-swallowed-at-start" => vec![(Unfinished, "word0 word1", &[])],
        "v1.18.34-look-swallowed-at-start" => vec![(Told, PLAIN, &[]), (Unfinished, "", &[])],
        "v1.2.27-permission-rejected-other-words" => vec![(Told, "", &[ToolStatus::Error])],
        _ => panic!("{name} is not expected"),
    }
}

#[test]
fn every_recording_of_a_version_ends_as_it_did() {
    for tape in Tape::of_versions() {
        let turns = tape.turns();
        let expected = expected(&tape.name);
        assert_eq!(turns.len(), expected.len(), "{}", tape.name);
        for (turn, (end, text, tools)) in turns.iter().zip(expected) {
            let mut reply = fold(turn, &turn.frames);
            let live = as_rebuilt(reply.result());
            let exchange = turn.exchange();
            reply.reconcile(&exchange);
            let reconciled = as_rebuilt(reply.result());
            let rebuilt = turn.rebuilt();
            let got = if !exchange.prompt_seen && live == ReplyResult::default() {
                NeverRan
            } else if !exchange.is_complete() && !exchange.is_declined(|_| false) {
                // What streamed is not lost over an exchange that has less.
                assert_eq!(reconciled, live, "{}", tape.name);
                Unfinished
            } else {
                assert_eq!(reconciled, *rebuilt, "{}", tape.name);
                if live == *rebuilt { Told } else { MadeUp }
            };
            assert_eq!(got, end, "{}", tape.name);
            let shown = &reconciled.full_text;
            assert!(shown.starts_with(text), "{}: {shown}", tape.name);
            assert_eq!(shown.is_empty(), text.is_empty(), "{}: {shown}", tape.name);
            let parts = reply.parts();
            let statuses = parts.iter().filter_map(|part| match part {
                PersistedPart::Tool(tool) => Some(tool.status),
                _ => None,
            });
            assert_eq!(statuses.collect::<Vec<_>>(), tools, "{}", tape.name);
        }
    }
}

/// As the worker that heard the reply, and as one that has the exchange alone.
#[test]
fn a_permission_that_1_2_27_rejected_is_declined() {
    let turn = &Tape::named("v1.2.27-permission-rejected-other-words").turns()[0];
    let live = fold(turn, &turn.frames);
    let mut exchange = turn.exchange();
    assert!(exchange.is_declined(|_| false));
    for part in exchange
        .messages
        .iter_mut()
        .flat_map(|message| &mut message.parts)
    {
        if let PartBody::Tool(call) = &mut part.body {
            call.state.error = Some("Sorry".to_owned());
        }
    }
    assert!(exchange.is_declined(|call| live.has_refused(call)));
}
