//! People: each has a conversation, asks, waits, sometimes twice, sometimes
//! stops the answer. They answer what the agent asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opencode_client::Client;
use opencode_client::reply::PersistedPart;
use opencode_client::wire::{PermissionReply, Prompt};
use opencode_host::id::{ConversationId, MessageId, TurnId};
use opencode_host::store::{OnBusy, Phase, StoreError, Submitted, Tenant};
use opencode_host::{Host, SubmitError, SubmitOptions};
use opencode_impostor::Impostor;

use crate::dice::Dice;
use crate::script::Kind;
use crate::worker::{Patient, Programs};

/// How often a person looks.
const LOOK: Duration = Duration::from_millis(120);

/// A turn as a person knows it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: Tenant,
    pub(crate) turn: TurnId,
    pub(crate) message: MessageId,
    pub(crate) conversation: ConversationId,
    pub(crate) kind: Kind,
    pub(crate) prompt: String,
    /// Somebody wanted it stopped.
    pub(crate) cancelled: bool,
    /// The longest text that was stored before the end.
    pub(crate) seen: String,
    pub(crate) done: bool,
}

/// All that was asked so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book(Arc<Mutex<Vec<Asked>>>);

impl Book {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Asked>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, asked: Asked) -> usize {
        self.with(|all| {
            all.push(asked);
            all.len() - 1
        })
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Asked)) {
        self.with(|all| all.get_mut(at).map(change));
    }

    fn get(&self, at: usize) -> Option<Asked> {
        self.with(|all| all.get(at).cloned())
    }

    pub(crate) fn all(&self) -> Vec<Asked> {
        self.with(|all| all.clone())
    }

    pub(crate) fn done(&self) -> usize {
        self.with(|all| all.iter().filter(|asked| asked.done).count())
    }
}

/// Stands in a text where some was streamed while nobody listened.
const TORN: &str = "[…]";

/// Whether `text` is the beginning of `whole`, as far as it was heard: what
/// stands behind a gap comes later in `whole`.
pub(crate) fn is_heard_of(text: &str, whole: &str) -> bool {
    let mut rest = whole;
    for (number, piece) in text.split(TORN).enumerate() {
        let piece = piece.trim();
        let found = match rest.find(piece) {
            Some(at) if at == 0 || number > 0 => at,
            _ => return false,
        };
        rest = &rest[found + piece.len()..];
    }
    true
}

/// The text that parts hold, as a message's content has it.
pub(crate) fn text_of(parts: &[PersistedPart]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        PersistedPart::Text { content } if !content.is_empty() => Some(content.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

/// One person.
pub(crate) struct Person {
    pub(crate) number: usize,
    pub(crate) turns: usize,
    pub(crate) dice: Dice,
    pub(crate) store: Patient,
    /// Submits; works on nothing.
    pub(crate) host: Host,
    pub(crate) programs: Programs,
    pub(crate) book: Book,
    /// What is asked.
    pub(crate) kinds: &'static [Kind],
}

/// Whose people there are.
const TENANTS: [&str; 3] = ["acme", "umbrella", "initech"];

impl Person {
    /// Asks all there is to ask.
    pub(crate) async fn talk(mut self) -> anyhow::Result<()> {
        // Those of several tenants have the same name.
        let name = format!("conversation {}", self.number / TENANTS.len());
        let conversation = self
            .store
            .ask(|store| {
                let (tenant, name) = (self.tenant(), name.clone());
                async move { store.open_conversation(&tenant, &name).await }
            })
            .await?
            .id;
        let mut asked = 0;
        while asked < self.turns {
            let burst = (1 + self.dice.below(3)).min(self.turns - asked);
            let mut waiting = Vec::new();
            for _ in 0..burst {
                let on_busy = if !waiting.is_empty() && self.dice.once_in(6) {
                    OnBusy::Interrupt
                } else {
                    OnBusy::Enqueue
                };
                if on_busy == OnBusy::Interrupt {
                    for at in &waiting {
                        self.book.change(*at, |asked| asked.cancelled = true);
                    }
                }
                waiting.push(self.ask(conversation, asked, on_busy).await?);
                asked += 1;
            }
            for at in waiting {
                self.wait(at).await?;
            }
        }
        Ok(())
    }

    fn tenant(&self) -> Tenant {
        Tenant::from(TENANTS[self.number % TENANTS.len()])
    }

    async fn ask(
        &mut self,
        conversation: ConversationId,
        number: usize,
        on_busy: OnBusy,
    ) -> anyhow::Result<usize> {
        let kind = *self.dice.of(self.kinds);
        let prompt = kind.prompt(&format!("turn {}/{number}.", self.number));
        let key = format!("key {number}");
        let submit = || {
            let (key, prompt) = (key.clone(), prompt.clone());
            let host = self.host.clone();
            self.store.ask(move |_| {
                let options = SubmitOptions {
                    client_key: Some(key.clone()),
                    on_busy,
                    ..SubmitOptions::default()
                };
                let (host, prompt) = (host.clone(), Prompt::text(prompt.clone()));
                async move {
                    match host.submit(conversation, prompt, options).await {
                        Ok(submitted) => Ok(submitted),
                        Err(SubmitError::Store(error)) => Err(error),
                        Err(error) => Err(StoreError::Configuration(error.to_string())),
                    }
                }
            })
        };
        // A double click, from two tabs.
        let submitted: Submitted = if self.dice.once_in(4) {
            let (one, other) = tokio::try_join!(submit(), submit())?;
            anyhow::ensure!(
                one.turn.id == other.turn.id && !(one.created && other.created),
                "one key made two turns: {} and {}",
                one.turn.id,
                other.turn.id
            );
            one
        } else {
            submit().await?
        };
        let turn = submitted.turn.id;
        let at = self.book.add(Asked {
            tenant: self.tenant(),
            turn,
            message: submitted.turn.message,
            conversation,
            kind,
            prompt,
            cancelled: false,
            seen: String::new(),
            done: false,
        });
        if self.dice.once_in(7) {
            self.book.change(at, |asked| asked.cancelled = true);
            let (programs, pause) = (self.programs.clone(), self.dice.millis(0, 2500));
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                while let Err(error) = programs.cancel(turn).await {
                    eprintln!("{error:#}; once more");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
        Ok(at)
    }

    /// Looks at the page until the turn has ended.
    async fn wait(&self, at: usize) -> anyhow::Result<()> {
        let Some(asked) = self.book.get(at) else {
            return Ok(());
        };
        loop {
            let (id, message) = (asked.turn, asked.message);
            let turn = self
                .store
                .ask(|store| async move { store.turn(id).await })
                .await?;
            let state = turn.map(|turn| turn.phase());
            if let Some(Phase::Finished { settled: true, .. }) = state {
                self.book.change(at, |asked| asked.done = true);
                return Ok(());
            }
            if state == Some(Phase::Running) {
                let row = self
                    .store
                    .ask(|store| async move { store.message(message).await })
                    .await?;
                let text = row
                    .map(|row| text_of(&row.answer.parts))
                    .unwrap_or_default();
                self.book.change(at, |asked| {
                    if text.len() > asked.seen.len() {
                        asked.seen = text;
                    }
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Answers what the agents of a server ask, after a while, until `stop`.
pub(crate) async fn answer(impostor: Arc<Impostor>, mut dice: Dice, stop: Arc<AtomicBool>) {
    let Ok(client) = Client::builder(impostor.url()).build() else {
        return;
    };
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (questions, permissions) = impostor.with_ledger(|ledger| {
            let owned = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect::<Vec<_>>();
            (owned(ledger.questions()), owned(ledger.permissions()))
        });
        // A server that is just restarting is asked again.
        for question in questions {
            if dice.once_in(12) {
                let answers = [vec!["Yes".to_owned()]];
                let _ = client.answer_question(&question.into(), &answers).await;
            }
        }
        for permission in permissions {
            if dice.once_in(12) {
                let reply = PermissionReply::Once;
                let _ = client
                    .reply_permission(&permission.into(), reply, None)
                    .await;
            }
        }
    }
}
