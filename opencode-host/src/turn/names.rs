//! Names in a prompt that the server does not know: the agent's, the model's.
//!
//! Servers differ in what they do with such a prompt: up to 1.2.27 an unknown agent gets a 204 and then silence; later
//! ones report it as the session's error; an unknown model is reported, with the prompt stored and no answer to it. All
//! of them list what there is, so that is asked for once a look has found nothing, or an error says that a name is why.

use std::cmp::Reverse;

use opencode_client::wire::{ModelRef, Prompt};
use opencode_client::{Error as ClientError, Exchange};

use super::ears::Ears;
use super::facts::{Facts, Learned, Names};
use super::plan::Ending;
use super::tools::{Outcome, Tools};
use super::unknown_name::is_unknown;
use crate::outcome::Reason;
use crate::visible::short;

/// How many of the names that there are a message tells: those most like the unknown one.
const TOLD: usize = 12;

/// How much of a name a message tells, in characters.
const NAME: usize = 80;

/// How often a list is asked for that does not come in time.
const TRIES: u32 = 2;

/// How much of a server's own words a message tells, in characters.
const SAID: usize = 300;

/// What is asked: the turn's prompt, or what the product put in its place.
pub(super) fn asked<'a>(tools: &'a Tools, facts: &'a Facts) -> &'a Prompt {
    facts.claim.verdict.changed().unwrap_or(&tools.turn.prompt)
}

/// What the prompt names: its own, or the product's.
pub(super) fn named(tools: &Tools, facts: &Facts) -> (Option<String>, Option<ModelRef>) {
    let (prompt, policy) = (asked(tools, facts), &tools.product.policy);
    let agent = prompt.agent.clone();
    let model = prompt.model.clone();
    (
        agent.or_else(|| policy.agent.clone()),
        model.or_else(|| policy.model.clone()),
    )
}

/// Whether the session goes on with the unknown model that the turn named, wherever a later prompt names none
/// (1.1.16 to 1.18.33): a server that has stored the prompt has noted its model.
pub(super) fn keeps_unknown_model(
    tools: &Tools,
    facts: &Facts,
    ears: &Ears,
    ending: &Ending,
) -> bool {
    let stored = |exchange: &Exchange| exchange.prompt_seen;
    ending.reason == Some(Reason::UnknownName)
        && named(tools, facts).1.is_some()
        && ears.exchange.as_ref().is_some_and(stored)
}

/// Finds out whether a name is why there is no answer.
pub(super) async fn ask_names(tools: &Tools, facts: &Facts, ears: &Ears) -> Outcome {
    let reported = ears.reply.as_ref().and_then(|reply| reply.error());
    let failed = ears.exchange.as_ref().and_then(Exchange::error);
    // The message's own error is the better one.
    let mut said = [failed, reported].into_iter().flatten();
    let said = said.find(|error| is_unknown(error));
    let said = said.map(|error| error.message.clone());
    let names = names_known(tools, facts, said.as_deref()).await?;
    Ok(Learned::Named(names))
}

/// What the server's lists say of the prompt's names; `said` is what it said itself of one that it does not know.
pub(super) async fn names_known(
    tools: &Tools,
    facts: &Facts,
    said: Option<&str>,
) -> Result<Names, ClientError> {
    let client = tools.client(facts);
    let (agent, model) = named(tools, facts);
    let mut agents = Vec::new();
    if agent.is_some() || said.is_some() {
        agents = listed(|| client.agents()).await?;
    }
    let mut models = Vec::new();
    if model.is_some() || said.is_some() {
        let listed = listed(|| client.models()).await?;
        models = listed.available.iter().map(ToString::to_string).collect();
    }
    let model = model.as_ref().map(ToString::to_string);
    for (kind, name, known) in [
        (Kind::Agent, agent.as_deref(), &agents),
        (Kind::Model, model.as_deref(), &models),
    ] {
        // No list at all says nothing about a name.
        if let Some(name) = name
            && !known.is_empty()
            && !known.iter().any(|known| known == name)
        {
            let unknown = format!("OpenCode knows no {} {:?}.", kind.word(), short(name, NAME));
            return Ok(Names::Unknown(unknown + &kind.advice(name, known)));
        }
    }
    let Some(said) = said else {
        return Ok(Names::Known);
    };
    // Not a name of the prompt, but one of the server's configuration; or there is no list.
    let (kind, known) = if said.to_lowercase().contains("agent") {
        (Kind::Agent, agents)
    } else {
        (Kind::Model, models)
    };
    let said = short(said, SAID);
    let advice = kind.advice(&said, &known);
    Ok(Names::Unknown(format!("OpenCode says: {said}{advice}")))
}

/// What a name is of.
#[derive(Clone, Copy)]
enum Kind {
    Agent,
    Model,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Model => "model",
        }
    }

    /// Which names there are, those most like `name` first, and what to do.
    fn advice(self, name: &str, known: &[String]) -> String {
        let mut advice = String::new();
        if !known.is_empty() {
            let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
            known.sort_by_key(|known| Reverse(alike(known, name)));
            let told = known.iter().take(TOLD).map(|known| short(known, NAME));
            let told = told.collect::<Vec<_>>().join(", ");
            let more = match known.len().saturating_sub(TOLD) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            advice = format!(" It knows {told}{more}.");
        }
        advice.push_str(match self {
            Self::Agent => " Name one that it knows (`opencode agent list`), or add this one to its configuration.",
            Self::Model => {
                " Name one that it knows (`opencode models`), or sign in to the model's provider \
                 (`opencode auth login`)."
            }
        });
        advice
    }
}

/// How many characters two names begin with alike.
fn alike(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars());
    pairs.take_while(|(one, other)| one == other).count()
}

/// A list of the server, empty where it has none or does not tell it.
async fn listed<T: Default, Listing>(list: impl Fn() -> Listing) -> Result<T, ClientError>
where
    Listing: Future<Output = Result<T, ClientError>>,
{
    for _ in 0..TRIES {
        match list().await {
            Ok(list) => return Ok(list),
            Err(ClientError::Timeout { .. }) => {}
            Err(error @ (ClientError::Connection { .. } | ClientError::Unauthorized { .. })) => {
                return Err(error);
            }
            Err(_) => break,
        }
    }
    Ok(T::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_are_told_are_few_and_the_likeliest_first() {
        let mut known: Vec<String> = (0..400).map(|at| format!("router/model-{at}")).collect();
        known.push("anthropic/claude-sonnet-4".to_owned());
        known.push(format!("anthropic/claude-{}", "x".repeat(5000)));
        let advice = Kind::Model.advice("anthropic/claude-sonet-4", &known);
        assert!(
            advice.starts_with(" It knows anthropic/claude-sonnet-4, anthropic/claude-xxx"),
            "{advice}"
        );
        assert!(advice.contains(" and 390 more."), "{advice}");
        assert!(advice.chars().count() < TOLD * (NAME + 2) + 200, "{advice}");
        let none = Kind::Agent.advice("x", &[]);
        assert!(!none.contains("It knows"), "{none}");
    }
}
