//! An endpoint that workers tell of turns and requests. It counts what comes, and is at times in no state to take it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opencode_host::store::{Message, MessageStatus, TurnStatus};
use opencode_host::webhooks::{Received, Webhook, WebhookError, WebhookSecret, Webhooks};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::crowd::Asked;
use crate::dice::Dice;

/// How long a try to tell it takes at most.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What is signed with. Known to all: it guards nothing.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret() -> anyhow::Result<WebhookSecret> {
    Ok(SECRET.parse()?)
}

/// Webhooks of a worker, to the endpoint at `url`.
pub(crate) fn webhooks(url: &str) -> anyhow::Result<Webhooks> {
    let webhook = Webhook::new("ledger", url, secret()?)?;
    let webhooks = Webhooks::builder(vec![webhook]).allow_private("127.0.0.1");
    webhooks
        .timeout(TIMEOUT)
        .build()
        .map_err(|error: WebhookError| error.into())
}

/// The endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug)]
struct Receiving {
    secret: WebhookSecret,
    heard: Arc<Mutex<Heard>>,
    dice: Mutex<Dice>,
}

/// What came, by the id it came under, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    by_id: BTreeMap<String, Told>,
    wrong: Vec<String>,
}

/// What came under one id.
#[derive(Clone, Debug)]
struct Told {
    data: Value,
    times: usize,
    /// Whether it was answered that it was taken.
    taken: bool,
    kind: String,
    turn: String,
    status: Option<MessageStatus>,
    request: Option<String>,
}

/// What it does with a webhook that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Take,
    Refuse,
    Hang,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    /// Begins to listen on loopback.
    pub(crate) async fn start(dice: Dice) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/told", listener.local_addr()?);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let receiving = Receiving {
            secret: secret()?,
            heard: Arc::clone(&heard),
            dice: Mutex::new(dice),
        };
        let router = Router::new()
            .route("/told", post(take))
            .with_state(Arc::new(receiving));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, heard })
    }

    pub(crate) fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }
}

async fn take(
    State(receiving): State<Arc<Receiving>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mood = match lock(&receiving.dice).below(12) {
        0 => Mood::Refuse,
        1 => Mood::Hang,
        _ => Mood::Take,
    };
    let noted = {
        let mut heard = lock(&receiving.heard);
        heard.note(&receiving.secret, &headers, &body, mood == Mood::Take)
    };
    if let Err(error) = noted {
        lock(&receiving.heard).wrong.push(format!("{error:#}"));
    }
    match mood {
        Mood::Take => StatusCode::NO_CONTENT,
        Mood::Refuse => StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Hang => std::future::pending().await,
    }
}

impl Heard {
    fn note(
        &mut self,
        secret: &WebhookSecret,
        headers: &HeaderMap,
        body: &[u8],
        taken: bool,
    ) -> anyhow::Result<()> {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| anyhow::anyhow!("a webhook came without {name}"))
        };
        let id = header("webhook-id")?;
        let received = Received {
            id,
            timestamp: header("webhook-timestamp")?,
            signature: header("webhook-signature")?,
            body,
        };
        received.verify(secret, SystemTime::now())?;
        let said: Value = serde_json::from_slice(body)?;
        let data = &said["data"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let status: Option<TurnStatus> = serde_json::from_value(data["turn"]["status"].clone())?;
        let told = Told {
            times: 0,
            taken: false,
            kind: text(&said["type"]).unwrap_or_default(),
            turn: text(&data["turn"]["id"]).unwrap_or_default(),
            status: status.map(MessageStatus::from),
            request: text(&data["request"]["id"]),
            data: data.clone(),
        };
        let told = self.by_id.entry(id.to_owned()).or_insert(told);
        told.times += 1;
        told.taken |= taken;
        anyhow::ensure!(
            told.data == *data,
            "webhook {id} tells different things: {} {data}",
            told.data
        );
        Ok(())
    }

    /// How many webhooks came, and how many of them again.
    pub(crate) fn count(&self) -> (usize, usize) {
        let times: usize = self.by_id.values().map(|told| told.times).sum();
        (times, times - self.by_id.len())
    }

    /// The end of a turn that has ended was told, under one id, as it is.
    pub(crate) fn judge(&self, asked: &Asked, message: &Message) -> Vec<String> {
        let turn = asked.turn.to_string();
        let ends: Vec<_> = self
            .by_id
            .iter()
            .filter(|(_, told)| told.kind == "turn.finished" && told.turn == turn)
            .collect();
        match &ends[..] {
            [(_, told)] if told.taken && told.status == Some(message.status) => Vec::new(),
            _ => vec![format!("turn.finished was told so: {ends:?}")],
        }
    }

    /// Nothing came that could not be read, of a turn that nobody asked, or under two ids.
    pub(crate) fn strangers(&self, known: &BTreeSet<String>) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        let mut requests = BTreeSet::new();
        for (id, told) in &self.by_id {
            if !known.contains(&told.turn) {
                wrong.push(format!("webhook {id} tells of nobody's turn: {told:?}"));
            }
            if let Some(request) = &told.request
                && !requests.insert(request)
            {
                wrong.push(format!("{request} was told under two ids, one is {id}"));
            }
            if !told.taken {
                wrong.push(format!("webhook {id} never arrived: {told:?}"));
            }
        }
        wrong
    }
}
