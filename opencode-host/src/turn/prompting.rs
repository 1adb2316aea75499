//! Prompting exactly once.

use opencode_client::Error as ClientError;
use opencode_client::wire::{Prompt, System};
use tokio::time::{Instant, sleep_until};

use super::connecting::stop_leftover;
use super::ears::Ears;
use super::facts::{Consulted, Facts, Learned, Names};
use super::history::{history_failed, not_minted};
use super::names::{asked, named, names_known};
use super::offering::offer;
use super::showing::to_show;
use super::tools::{Outcome, Tools, Trouble};
use super::unknown_name::refuses;
use crate::product::{Product as _, Verdict};
use crate::store::{Note, PromptRecord, SessionRecord};

/// Asks the product whether the turn may begin.
pub(super) async fn consult(tools: &Tools) -> Learned {
    let verdict = match tools.product.before_turn(&tools.context).await {
        Ok(Verdict::Go) => Consulted::Go,
        Ok(Verdict::Refuse(why)) => Consulted::Refused(why),
        Ok(Verdict::Change(prompt)) if prompt.text.trim().is_empty() => Consulted::Failed(
            "Product::before_turn put an empty prompt in the turn's place".to_owned(),
        ),
        Ok(Verdict::Change(prompt)) => Consulted::Changed(Box::new(prompt)),
        Err(error) => {
            tools.report(error.as_ref());
            Consulted::Failed(error.to_string())
        }
    };
    Learned::Consulted(verdict)
}

/// Mints the prompt's ids and writes them down.
pub(super) async fn mint(tools: &Tools, facts: &Facts, ears: &mut Ears) -> Outcome {
    let Some(session) = facts.linked_session() else {
        return Ok(Learned::Done);
    };
    tools.guard_prompt().await?;
    let client = tools.client(facts);
    let mint = || client.mint_prompt_ids(&session.id, tools.front.clock.entropy());
    check(tools, session).await?;
    let (mut minted, status) = tokio::join!(mint(), client.status(&session.id));
    if status?.is_busy() {
        stop_leftover(tools, session).await?;
        minted = mint().await;
    }
    let ids = minted.map_err(|error| not_minted(tools, facts, error))?;
    offer(tools, session).await?;
    let record = PromptRecord {
        session: session.id.clone(),
        server: Some(tools.workshop.server.clone()),
        ids,
        resend: facts.claim.resent,
        changed: facts.claim.verdict.changed().cloned().map(Box::new),
    };
    let fenced = Instant::now();
    // Durable before the first post: whoever goes on posts the same message.
    let noting = Note::Prompt(&record);
    tools.front.store.note(&tools.lease, noting).await?;
    ears.take_up(tools, &record);
    Ok(Learned::Recorded { record, fenced })
}

/// Looks for the recorded prompt upstream.
pub(super) async fn look(tools: &Tools, facts: &Facts) -> Outcome {
    tools.guard().await?;
    let (Some(session), Some(prompted)) = (facts.linked_session(), facts.prompt.record()) else {
        return Ok(Learned::Done);
    };
    let client = tools.client(facts);
    let look = || async {
        let message = client.message(&session.id, &prompted.ids.message).await?;
        Ok::<_, ClientError>(message.is_some())
    };
    let limits = &facts.limits;
    let mut found = look().await;
    if let (Ok(false), Some(arrived)) = (&found, facts.prompt.may_arrive_until(&limits.pace)) {
        // What was on its way may arrive yet. 1.15.13 runs it twice if it is posted meanwhile.
        sleep_until(arrived).await;
        found = look().await;
    }
    let names = names_to_ask(tools, facts);
    match found {
        // Somebody else's post: what came of it is upstream.
        Ok(true) => Ok(Learned::Found {
            seen: true,
            names,
            unread: None,
        }),
        // Given up: what never arrived is not begun any more.
        Ok(false) if facts.claim.attempts > limits.attempts => Ok(Learned::Found {
            seen: false,
            names,
            unread: None,
        }),
        Ok(false) => {
            tools.guard_prompt().await?;
            check(tools, session).await?;
            offer(tools, session).await?;
            let fenced = Instant::now();
            // Still ours? Whoever else has it may have posted it meanwhile.
            let noting = Note::Prompt(prompted);
            tools.front.store.note(&tools.lease, noting).await?;
            Ok(Learned::Absent { fenced })
        }
        // It is upstream, or nobody can see it any more.
        Err(error) => Ok(Learned::Found {
            seen: false,
            names,
            unread: Some(history_failed(tools, facts, error)?),
        }),
    }
}

/// Posts the recorded prompt. The turn was ours at `fenced`; a process that was suspended since may have lost it.
pub(super) async fn post(tools: &Tools, facts: &Facts, fenced: Instant) -> Outcome {
    let (Some(session), Some(prompted)) = (facts.linked_session(), facts.prompt.record()) else {
        return Ok(Learned::Done);
    };
    let mut prompt = prompt(tools, facts);
    if !prompt.files.is_empty() {
        prompt.files = Box::pin(to_show(tools, facts, &prompt)).await;
    }
    let not_after = fenced + tools.workshop.options.lease / 2;
    // A post that is made again costs more than a look.
    let client = tools.client(facts).with_patience(tools.patience * 2);
    let (ids, not_after) = (&prompted.ids, not_after.into());
    let posting = client.prompt_async_before(&session.id, ids, &prompt, not_after);
    match tools.telling(posting).await {
        Ok(()) => Ok(Learned::Posted {
            names: names_to_ask(tools, facts),
        }),
        Err(error) if refuses(&error) => {
            match names_known(tools, facts, Some(&error.to_string())).await {
                Ok(names) => Ok(Learned::PostRefused(names)),
                Err(error) => Ok(Learned::NotPosted {
                    failure: tools.failure(&error),
                    unsent: true,
                }),
            }
        }
        Err(error) => {
            tracing::debug!(%error, "the prompt's answer is missing: looking before it is posted again");
            Ok(Learned::NotPosted {
                failure: tools.failure(&error),
                unsent: matches!(error, ClientError::Timeout { seconds: 0, .. }),
            })
        }
    }
}

/// Before a prompt: the server, maybe another than before, still does as the session's rules say.
async fn check(tools: &Tools, session: &SessionRecord) -> Result<(), Trouble> {
    let client = session.client(&tools.server);
    let sessions = tools.sessions();
    let checked = sessions.check(&client, &tools.context, &session.id);
    Ok(checked.await?)
}

/// Whether the server is to be asked for the names that there are, should nothing come of the prompt.
fn names_to_ask(tools: &Tools, facts: &Facts) -> Names {
    match named(tools, facts) {
        (None, None) => Names::Known,
        _ => Names::Unasked,
    }
}

/// The turn's prompt, with what the product adds.
pub(super) fn prompt(tools: &Tools, facts: &Facts) -> Prompt {
    let mut prompt = asked(tools, facts).clone();
    (prompt.agent, prompt.model) = named(tools, facts);
    let own = prompt.system.unwrap_or(System::Append(String::new()));
    prompt.system = own.beside(tools.product.policy.system_context.clone());
    prompt
}
