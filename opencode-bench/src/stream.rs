//! Turns at once, through hub and reply.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use opencode_client::event::EventBody;
use opencode_client::reply::Scope;
use opencode_client::wire::Prompt;
use opencode_client::{Client, EventHub, Exchange, HubOptions, Reply, Signal, Subscription};
use tokio::task::JoinSet;

use crate::expect::{Plan, Turn, client};
use crate::meter::{Meter, Report, peak_memory_kb};
use crate::stream_args::{StreamArgs, Subs};

/// How many prompts are posted at once.
const POSTS: usize = 32;

/// What one turn came to.
struct Outcome {
    turn: Turn,
    text: String,
    events: u64,
    deltas: u64,
}

pub(crate) async fn run(args: &StreamArgs) -> anyhow::Result<Report> {
    let client = client(args)?;
    let plan = Plan::prepare(args, &client).await?;
    let sessions = plan.turns.len();
    let limit = Duration::from_secs(args.limit);

    let meter = Meter::start()?;
    let hub = EventHub::new(client.clone(), HubOptions::default());
    let mut folding = JoinSet::new();
    for turn in &plan.turns {
        let hub = match args.subs {
            Subs::Shared => hub.clone(),
            Subs::PerTurn => EventHub::new(client.clone(), HubOptions::default()),
        };
        let subscription = hub
            .subscribe(&turn.session, None)
            .await
            .context("cannot subscribe")?;
        folding.spawn(fold(client.clone(), turn.clone(), subscription));
    }
    let posting = tokio::spawn(post(client.clone(), plan.turns));
    let mut outcomes = Vec::with_capacity(sessions);
    let folded = async {
        while let Some(outcome) = folding.join_next().await {
            outcomes.push(outcome?);
        }
        Ok::<_, anyhow::Error>(())
    };
    let finished = tokio::time::timeout(limit, folded).await;
    let cost = meter.read()?;
    finished.map_err(|_| anyhow::anyhow!("not all turns ended within {} s", args.limit))??;
    posting.await??;

    let mut bad = 0;
    for outcome in &outcomes {
        bad += usize::from(outcome.text != expected(&client, &outcome.turn).await?);
    }
    let deltas: u64 = outcomes.iter().map(|outcome| outcome.deltas).sum();
    Ok(Report {
        peer: args.base.clone(),
        subs: match args.subs {
            Subs::Shared => "shared",
            Subs::PerTurn => "per-turn",
        },
        sessions,
        deltas: plan.deltas.unwrap_or(deltas / sessions.max(1) as u64),
        wall_s: cost.wall_s,
        user_s: cost.user_s,
        sys_s: cost.sys_s,
        maxrss_kb: peak_memory_kb(),
        own_events: outcomes.iter().map(|outcome| outcome.events).sum(),
        verified: sessions - bad,
        bad,
    })
}

async fn post(client: Client, turns: Vec<Turn>) -> anyhow::Result<()> {
    let mut posts = FuturesUnordered::new();
    for turn in turns {
        let client = client.clone();
        posts.push(async move {
            client
                .prompt_async(&turn.session, &turn.ids, &Prompt::text(turn.prompt))
                .await
        });
        if posts.len() >= POSTS
            && let Some(posted) = posts.next().await
        {
            posted.context("cannot prompt")?;
        }
    }
    while let Some(posted) = posts.next().await {
        posted.context("cannot prompt")?;
    }
    Ok(())
}

/// Folds one session's events until its text is whole.
async fn fold(client: Client, turn: Turn, mut subscription: Subscription) -> Outcome {
    let mut reply = Reply::with_scope(turn.session.clone(), Scope::Session);
    reply.leave_out(&turn.ids.message);
    let (mut events, mut deltas) = (0, 0);
    loop {
        match subscription.next().await {
            Signal::Event(event) => {
                events += 1;
                deltas += u64::from(matches!(event.body, EventBody::PartDelta(_)));
                reply.apply(&event);
            }
            // What was missed is read from the server, as a host does.
            Signal::Gap(_) => match client.exchange(&turn.session, &turn.ids.message, 1).await {
                Ok(exchange) => reply.reconcile(&exchange),
                Err(error) => eprintln!("after a gap: {error}"),
            },
            _ => continue,
        }
        let whole = match &turn.text {
            Some(text) => reply.text_len() >= text.len() && reply.result().full_text == *text,
            None => false,
        };
        if whole || (reply.take_idle() && reply.text_len() > 0) {
            return Outcome {
                turn,
                text: reply.result().full_text,
                events,
                deltas,
            };
        }
    }
}

/// What a turn was to say.
async fn expected(client: &Client, turn: &Turn) -> anyhow::Result<String> {
    if let Some(text) = &turn.text {
        return Ok(text.clone());
    }
    let exchange: Exchange = client.exchange(&turn.session, &turn.ids.message, 1).await?;
    let mut reply = Reply::new(turn.session.clone(), turn.ids.message.clone());
    reply.reconcile(&exchange);
    Ok(reply.result().full_text)
}
