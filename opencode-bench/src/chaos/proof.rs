//! What must hold in the end, by the rows and by the server's ledger.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use opencode_host::id::ConversationId;
use opencode_host::store::{
    Conversation, Message, MessageRole, MessageStatus, Phase, Turn, TurnEvent, TurnStatus,
};
use opencode_impostor::{Impostor, Ledger};
use serde_json::{Value, json};

use crate::crowd::{Asked, is_heard_of, text_of};
use crate::noted::Noted;
use crate::script::Kind;
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
    noted: Option<&mut Noted>,
    hung: bool,
) -> anyhow::Result<Findings> {
    let ledger = impostor.ledger();
    let mut findings = turns(all, store, noted, |case| judge(case, &ledger, past)).await?;
    let mut conversations: HashMap<ConversationId, Conversation> = HashMap::new();
    for id in all.iter().map(|asked| asked.conversation) {
        if let Entry::Vacant(entry) = conversations.entry(id) {
            let row = store
                .ask(|store| async move { store.conversation(id).await })
                .await?;
            if let Some(row) = row {
                entry.insert(row);
            }
        }
    }
    upstream(&ledger, &conversations, hung, &mut findings);
    Ok(findings)
}

/// Looks at the rows alone, where the server is a real one that only workers died at: each turn ended whole, or as the
/// person wanted.
pub(crate) async fn prove_rows(
    all: &[Asked],
    store: &Patient,
    noted: &mut Noted,
) -> anyhow::Result<Findings> {
    let on_real = |case: &Case<'_>| {
        let text = text_of(&case.message.answer.parts);
        let whole = text == case.asked.kind.text(&case.asked.prompt);
        match ended(case) {
            Ok(TurnStatus::Completed) if !whole => {
                vec![format!("the text is not the script's: {text:?}")]
            }
            Ok(TurnStatus::Completed) => Vec::new(),
            Ok(TurnStatus::Cancelled) if case.asked.cancelled => Vec::new(),
            Ok(status) => vec![format!("it may not end like that: {status:?}")],
            Err(wrong) => wrong,
        }
    };
    turns(all, store, Some(noted), on_real).await
}

/// Looks at every turn, and at the messages there are.
async fn turns(
    all: &[Asked],
    store: &Patient,
    mut noted: Option<&mut Noted>,
    judge: impl Fn(&Case<'_>) -> Vec<String>,
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    for asked in all {
        let Some(case) = read(asked, store).await? else {
            findings.of_turn(asked, "its rows are gone", &Value::Null);
            continue;
        };
        let mut wrong = judge(&case);
        if let Some(noted) = noted.as_deref_mut() {
            wrong.extend(noted.judge(asked, &case.turn, &case.message));
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
    if let Some(noted) = noted {
        findings.wrong.extend(noted.strangers(all));
    }
    messages(all, store, &mut findings).await?;
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

/// How a turn ended, where its rows agree on that.
fn ended(case: &Case<'_>) -> Result<TurnStatus, Vec<String>> {
    let Phase::Finished { status, settled } = case.turn.phase() else {
        return Err(vec!["it has not ended".to_owned()]);
    };
    let mut wrong = Vec::new();
    if !settled {
        wrong.push("it is not settled".to_owned());
    }
    if case.message.status != MessageStatus::from(status) {
        wrong.push("turn and message disagree".to_owned());
    }
    let finished: Vec<_> = case
        .events
        .iter()
        .filter(|event| event.name == "turn.finished")
        .collect();
    if finished.len() != 1 || finished[0].payload["status"] != json!(status) {
        wrong.push(format!("{} turn.finished", finished.len()));
    }
    if wrong.is_empty() {
        Ok(status)
    } else {
        Err(wrong)
    }
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
        ..
    } = case;
    let status = match ended(case) {
        Ok(status) => status,
        Err(wrong) => return wrong,
    };

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
                // The first one may have been lost, or become unreadable, before this turn began.
                let spans = [&past.forgetful, &past.forgot];
                let twice = turn.resends > 0 || spans.into_iter().any(during);
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
