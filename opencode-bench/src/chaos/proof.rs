//! What must hold in the end, by the rows and by the servers' ledgers.

use std::collections::{BTreeSet, HashMap};

use opencode_host::store::{
    Conversation, Message, MessageRole, MessageStatus, Phase, Turn, TurnEvent, TurnStatus,
};
use opencode_impostor::PromptPost;
use serde_json::{Value, json};

use crate::crowd::{Asked, is_heard_of, text_of};
use crate::fleet::{Ledgers, SiteLedger};
use crate::noted::Noted;
use crate::script::Kind;
use crate::trouble::Spans;
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
    ledgers: &Ledgers,
    noted: Option<&mut Noted>,
    hung: bool,
) -> anyhow::Result<Findings> {
    let posts = ledgers.posts();
    let mut findings = turns(all, store, noted, |case| judge(case, ledgers, &posts)).await?;
    for (asked, earlier) in unknown(all, &posts) {
        let what = format!("it was answered by a session that does not know {earlier:?}");
        findings.of_turn(asked, &what, &Value::Null);
    }
    let rows = conversations(all, store).await?;
    for site in ledgers.each() {
        upstream(site, &rows, hung, &mut findings);
    }
    Ok(findings)
}

/// The conversations of these turns.
pub(crate) async fn conversations(
    all: &[Asked],
    store: &Patient,
) -> anyhow::Result<Vec<Conversation>> {
    let ids: BTreeSet<_> = all.iter().map(|asked| asked.conversation).collect();
    let mut rows = Vec::new();
    for id in ids {
        let row = store
            .ask(|store| async move { store.conversation(id).await })
            .await?;
        rows.extend(row);
    }
    Ok(rows)
}

/// The sessions that these conversations name, each with its server.
pub(crate) fn owned(rows: &[Conversation]) -> BTreeSet<(&str, &str)> {
    let sessions = rows.iter().filter_map(|row| {
        let (session, server) = (row.session.as_ref()?, row.server.as_ref()?);
        Some((server.as_str(), session.id.as_str()))
    });
    sessions.collect()
}

/// Turns that were answered by a session that knows nothing of an earlier one of their conversation, which was answered
/// too.
fn unknown<'a>(all: &'a [Asked], posts: &Posts<'_>) -> Vec<(&'a Asked, &'a str)> {
    let mut found = Vec::new();
    let mut earlier: HashMap<_, Vec<&Asked>> = HashMap::new();
    for asked in all {
        let answered = posts.get(asked.prompt.as_str());
        let before = earlier.entry(asked.conversation).or_default();
        // The one that was posted last is the one that was answered.
        if let Some((site, post)) = answered.and_then(|posts| posts.last()) {
            let is_unknown = |before: &&&Asked| !site.knows(&post.session, &before.prompt);
            found.extend(
                before
                    .iter()
                    .find(is_unknown)
                    .map(|before| (asked, before.prompt.as_str())),
            );
            before.push(asked);
        }
    }
    found
}

/// The posts of each prompt, by its text, with the server that took them.
type Posts<'a> = HashMap<&'a str, Vec<(&'a SiteLedger, &'a PromptPost)>>;

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

fn judge(case: &Case<'_>, ledgers: &Ledgers, posts: &Posts<'_>) -> Vec<String> {
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
    let posts = posts
        .get(asked.prompt.as_str())
        .map_or(&[][..], Vec::as_slice);
    let ids = posts.iter().map(|(_, post)| post.message_id.as_str());
    let ids: BTreeSet<_> = ids.collect();
    check(
        ids.len() <= 1 + turn.resends as usize,
        format!("prompted as {ids:?}, resent {} times", turn.resends),
    );
    for id in &ids {
        let runs = ledgers.model_runs(id);
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
    // Whether it was so on the servers that took the prompt, or on any where none did.
    let during = |spans: fn(&SiteLedger) -> &Spans| {
        let to = turn.finished_at().unwrap_or(message.created_at);
        let took = |site: &SiteLedger| posts.iter().any(|(took, _)| took.name == site.name);
        let sites = ledgers.each().filter(|site| posts.is_empty() || took(site));
        let mut spans = sites.map(spans);
        turn.started_at()
            .is_some_and(|from| spans.any(|spans| spans.between(from, to)))
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
                let twice = turn.resends > 0
                    || during(|site| &site.past.forgetful)
                    || during(|site| &site.past.forgot);
                (asked.kind == Kind::Fails && text == whole) || (twice && lost)
            }
            Some("interrupted") => during(|site| &site.past.deaths),
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

/// A server: nobody broke its rules, nothing is left on it. One that died for good has what it had.
fn upstream(site: &SiteLedger, rows: &[Conversation], hung: bool, findings: &mut Findings) {
    let (name, ledger) = (site.name.as_str(), &site.ledger);
    let benign = |violation: &str| {
        // A worker that hung between its look and its post posts late. The server
        // takes the same ids once, and the runs are counted per turn.
        hung && violation.ends_with("was posted again although the earlier post was answered")
    };
    let mut found = |what: String| findings.wrong.push(what);
    for violation in ledger.violations().iter().filter(|text| !benign(text)) {
        found(format!("the server {name} was told: {violation}"));
    }
    if site.dead {
        return;
    }
    for session in site.left_over(&owned(rows)) {
        found(format!(
            "session {session} is left over on {name}: no row names it"
        ));
    }
    if !ledger.busy().is_empty() {
        found(format!("{name} is still at work: {:?}", ledger.busy()));
    }
    let waiting = (ledger.questions().len(), ledger.permissions().len());
    if waiting != (0, 0) {
        found(format!(
            "on {name} {} questions and {} permissions wait for nobody",
            waiting.0, waiting.1
        ));
    }
}
