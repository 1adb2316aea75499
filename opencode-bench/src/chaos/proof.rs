//! What must hold in the end, by the rows and by the server's ledger.

use std::collections::{BTreeSet, HashMap};

use opencode_client::reply::{PersistedPart, ToolStatus};
use opencode_host::id::ConversationId;
use opencode_host::store::{
    Conversation, Message, MessageRole, MessageStatus, Phase, Turn, TurnEvent, TurnStatus,
};
use opencode_impostor::{Impostor, Ledger};
use serde_json::{Value, json};

use crate::crowd::{Asked, is_heard_of, text_of};
use crate::own_tool::Runs;
use crate::script::{Kind, OWN_CALLS, OWN_TOOL};
use crate::trouble::{Past, Spans};
use crate::worker::Patient;

/// Everything that was found wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) wrong: Vec<String>,
    pub(crate) endings: HashMap<String, usize>,
}

/// What is known of one turn.
struct Case<'a> {
    asked: &'a Asked,
    turn: Turn,
    message: Message,
    events: Vec<TurnEvent>,
}

impl Findings {
    fn of_turn(&mut self, asked: &Asked, what: &str, row: &Value) {
        self.wrong.push(format!(
            "turn {} ({:?} {:?}): {what}\n    {row}",
            asked.turn, asked.kind, asked.prompt
        ));
    }
}

/// Looks at everything.
pub(crate) async fn prove(
    all: &[Asked],
    store: &Patient,
    impostor: &Impostor,
    past: &Past,
    own: Option<&Runs>,
    hung: bool,
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let ledger = impostor.ledger();
    let mut conversations: HashMap<ConversationId, Conversation> = HashMap::new();
    for asked in all {
        let Some(case) = read(asked, store).await? else {
            findings.of_turn(asked, "its rows are gone", &Value::Null);
            continue;
        };
        if let std::collections::hash_map::Entry::Vacant(entry) =
            conversations.entry(asked.conversation)
        {
            let id = asked.conversation;
            let row = store
                .ask(|store| async move { store.conversation(id).await })
                .await?;
            if let Some(row) = row {
                entry.insert(row);
            }
        }
        let mut wrong = judge(&case, &ledger, past);
        if let Some(runs) = own {
            wrong.extend(own_tool(&case, runs));
        }
        for what in wrong {
            findings.of_turn(asked, &what, &row(&case));
        }
        let ending = match case.message.answer.reason {
            Some(reason) => format!("{:?} {}", case.message.status, reason.as_str()),
            None => format!("{:?}", case.message.status),
        };
        *findings.endings.entry(ending.to_lowercase()).or_default() += 1;
    }
    messages(all, store, &mut findings).await?;
    upstream(&ledger, &conversations, hung, &mut findings);
    Ok(findings)
}

async fn read<'a>(asked: &'a Asked, store: &Patient) -> anyhow::Result<Option<Case<'a>>> {
    let (id, message) = (asked.turn, asked.message);
    let turn = store
        .ask(|store| async move { store.turn(id).await })
        .await?;
    let message = store
        .ask(|store| async move { store.message(message).await })
        .await?;
    let events = store
        .ask(|store| async move { store.turn_events(id).await })
        .await?;
    Ok(turn.zip(message).map(|(turn, message)| Case {
        asked,
        turn,
        message,
        events,
    }))
}

fn row(case: &Case<'_>) -> Value {
    json!({
        "state": format!("{:?}", case.turn.phase()),
        "status": case.message.status,
        "reason": case.message.answer.reason,
        "error": case.message.answer.error,
        "content": case.message.answer.content,
        "seen": case.asked.seen,
        "generation": case.turn.generation,
        "attempts": case.turn.attempts,
        "resends": case.turn.resends,
        "prompted": case.turn.prompted,
        "started_at": case.turn.started_at().map(|at| at.0),
        "finished_at": case.turn.finished_at().map(|at| at.0),
        "events": case.events.iter().map(|event| &event.payload).collect::<Vec<_>>(),
    })
}

fn judge(case: &Case<'_>, ledger: &Ledger, past: &Past) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let Case {
        asked,
        turn,
        message,
        events,
    } = case;
    let Phase::Finished { status, settled } = turn.phase() else {
        return vec!["it has not ended".to_owned()];
    };
    check(settled, "it is not settled".to_owned());
    check(
        message.status == MessageStatus::from(status),
        "turn and message disagree".to_owned(),
    );
    let finished: Vec<_> = events
        .iter()
        .filter(|event| event.name == "turn.finished")
        .collect();
    check(
        finished.len() == 1 && finished[0].payload["status"] == json!(status),
        format!("{} turn.finished", finished.len()),
    );

    // The prompt.
    let posts: Vec<_> = ledger
        .prompt_posts()
        .iter()
        .filter(|post| post.text == asked.prompt)
        .collect();
    let ids: BTreeSet<_> = posts.iter().map(|post| post.message_id.as_str()).collect();
    check(
        ids.len() <= 1 + turn.resends as usize,
        format!("prompted as {ids:?}, resent {} times", turn.resends),
    );
    for id in &ids {
        let runs = ledger.model_runs(id);
        check(runs <= 1, format!("the model ran {runs} times for {id}"));
    }
    let recorded = turn
        .prompted
        .as_ref()
        .map(|prompted| prompted.ids.message.to_string());
    check(
        status != TurnStatus::Completed
            || recorded.is_some_and(|recorded| ids.contains(recorded.as_str())),
        "completed without its prompt".to_owned(),
    );

    // The text.
    let (whole, text) = (
        asked.kind.text(&asked.prompt),
        text_of(&message.answer.parts),
    );
    check(
        text.is_empty() || message.answer.content == text,
        "content and parts disagree".to_owned(),
    );
    check(
        is_heard_of(&text, &whole),
        format!("the text is not the script's: {text:?}"),
    );
    check(
        turn.resends > 0 || text.starts_with(&asked.seen) || is_heard_of(&asked.seen, &text),
        format!("it lost text that was stored: {:?}", asked.seen),
    );
    let during = |spans: &Spans| {
        let to = turn.finished_at().unwrap_or(message.created_at);
        turn.started_at()
            .is_some_and(|from| spans.between(from, to))
    };
    let allowed = match status {
        TurnStatus::Completed => asked.kind != Kind::Fails && text == whole,
        TurnStatus::Cancelled => asked.cancelled,
        TurnStatus::Error => match message.answer.reason.map(|reason| reason.as_str()) {
            // A session that is forgotten twice in one turn is not made a third time.
            Some("upstream") => {
                let lost = message
                    .answer
                    .error
                    .as_ref()
                    .is_some_and(|error| error.name == "upstream");
                let twice = turn.resends > 0 || during(&past.forgetful);
                (asked.kind == Kind::Fails && text == whole) || (twice && lost)
            }
            Some("interrupted") => during(&past.deaths),
            _ => false,
        },
        TurnStatus::Failed => false,
    };
    check(allowed, format!("it may not end like that: {status:?}"));
    wrong
}

/// A call of the application's tool ran at most once for each run of the prompt, for nobody else, and the model read what
/// came of it.
fn own_tool(case: &Case<'_>, runs: &Runs) -> Vec<String> {
    let Case {
        asked,
        turn,
        message,
        ..
    } = case;
    let mut wrong = Vec::new();
    let calls: Vec<_> = message
        .answer
        .parts
        .iter()
        .filter_map(|part| match part {
            PersistedPart::Tool(tool) if tool.tool == OWN_TOOL => Some(tool),
            _ => None,
        })
        .collect();
    let owner = (asked.conversation.to_string(), asked.turn.to_string());
    for number in 0..OWN_CALLS {
        let runs = runs.of(&asked.prompt, number);
        if runs.len() > 1 + turn.resends as usize {
            wrong.push(format!("call {number} ran {} times", runs.len()));
        }
        if runs.iter().any(|run| *run != owner) {
            wrong.push(format!("call {number} ran for others: {runs:?}"));
        }
        let read = calls.get(number).and_then(|call| call.output.as_deref());
        if read == Some("noted") && runs.is_empty() {
            wrong.push(format!("call {number} has an answer and did not run"));
        }
    }
    let over = [ToolStatus::Completed, ToolStatus::Error];
    if asked.kind == Kind::Own
        && message.status == MessageStatus::Completed
        && (calls.len() != OWN_CALLS || calls.iter().any(|call| !over.contains(&call.status)))
    {
        wrong.push(format!("it completed with these calls: {calls:?}"));
    }
    wrong
}

/// Every turn has two messages, and nobody else has one.
async fn messages(all: &[Asked], store: &Patient, findings: &mut Findings) -> anyhow::Result<()> {
    let mut after = None;
    let (mut users, mut answers, mut pending) = (0, 0, 0);
    loop {
        let page = store
            .ask(|store| async move { store.messages(None, after, 500).await })
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for message in &page {
            match message.role {
                MessageRole::User => users += 1,
                MessageRole::Assistant => answers += 1,
            }
            pending += usize::from(message.status == MessageStatus::Pending);
        }
    }
    if (users, answers, pending) != (all.len(), all.len(), 0) {
        findings.wrong.push(format!(
            "{} turns were asked; there are {users} user messages, {answers} answers, {pending} pending",
            all.len()
        ));
    }
    Ok(())
}

/// The server: nobody broke its rules, nothing is left on it.
fn upstream(
    ledger: &Ledger,
    conversations: &HashMap<ConversationId, Conversation>,
    hung: bool,
    findings: &mut Findings,
) {
    let benign = |violation: &str| {
        // A worker that hung between its look and its post posts late. The server
        // takes the same ids once, and the runs are counted per turn.
        hung && violation.ends_with("was posted again although the earlier post was answered")
    };
    for violation in ledger.violations().iter().filter(|text| !benign(text)) {
        findings
            .wrong
            .push(format!("the server was told: {violation}"));
    }
    let owned: BTreeSet<&str> = conversations
        .values()
        .filter_map(|row| row.session.as_ref())
        .map(|session| session.id.as_str())
        .collect();
    for session in ledger.sessions_alive() {
        if !owned.contains(session) {
            findings
                .wrong
                .push(format!("session {session} is left over: no row names it"));
        }
    }
    if !ledger.busy().is_empty() {
        findings
            .wrong
            .push(format!("still at work: {:?}", ledger.busy()));
    }
    let waiting = (ledger.questions().len(), ledger.permissions().len());
    if waiting != (0, 0) {
        findings.wrong.push(format!(
            "{} questions and {} permissions wait for nobody",
            waiting.0, waiting.1
        ));
    }
}
