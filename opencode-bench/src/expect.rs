//! Which sessions are prompted, and what they are to say.

use anyhow::Context as _;
use opencode_client::wire::NewSession;
use opencode_client::{Client, MintBasis, PromptIds, SessionId};
use serde::Deserialize;

use crate::stream_args::StreamArgs;

/// The file of `--expect`.
#[derive(Debug, Deserialize)]
struct ExpectFile {
    #[serde(rename = "D", default)]
    deltas: u64,
    sessions: Vec<ExpectedSession>,
}

#[derive(Debug, Deserialize)]
struct ExpectedSession {
    sid: String,
    prompt: String,
    text: String,
}

/// One turn to be.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) session: SessionId,
    pub(crate) prompt: String,
    pub(crate) ids: PromptIds,
    /// `None`: whatever the server's own messages say in the end.
    pub(crate) text: Option<String>,
}

/// A run to be.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) turns: Vec<Turn>,
    /// How many deltas each turn has, as far as it is known before.
    pub(crate) deltas: Option<u64>,
}

pub(crate) fn client(args: &StreamArgs) -> anyhow::Result<Client> {
    let mut builder = Client::builder(&args.base);
    if let Some(password) = &args.password {
        builder = builder.password(password);
    }
    Ok(builder.build()?)
}

impl Plan {
    /// Reads the file, or makes the sessions. Not part of what is measured.
    pub(crate) async fn prepare(args: &StreamArgs, client: &Client) -> anyhow::Result<Self> {
        if let Some(path) = &args.expect {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let file: ExpectFile = serde_json::from_str(&text)
                .with_context(|| format!("{} is no expectation", path.display()))?;
            let mut turns = Vec::with_capacity(file.sessions.len());
            for (number, expected) in file.sessions.into_iter().enumerate() {
                let session = SessionId::from(expected.sid);
                let ids = ids(client, &session, number).await;
                turns.push(Turn {
                    session,
                    prompt: expected.prompt,
                    ids,
                    text: Some(expected.text),
                });
            }
            return Ok(Self {
                turns,
                deltas: Some(file.deltas).filter(|deltas| *deltas > 0),
            });
        }
        let mut turns = Vec::new();
        for number in 0..args.sessions.unwrap_or(1) {
            let session = client
                .create_session(&NewSession::default())
                .await
                .context("cannot make a session")?
                .id;
            let ids = ids(client, &session, number).await;
            turns.push(Turn {
                session,
                prompt: args.prompt.clone(),
                ids,
                text: None,
            });
        }
        Ok(Self {
            turns,
            deltas: None,
        })
    }
}

/// Ids as a host would mint them; a server that does not tell its messages gets ids all the same.
async fn ids(client: &Client, session: &SessionId, number: usize) -> PromptIds {
    let entropy = 0x9E37_79B9_7F4A_7C15_u128.wrapping_mul(number as u128 + 1) << 32;
    match client.mint_prompt_ids(session, entropy).await {
        Ok(ids) => ids,
        Err(_) => PromptIds::mint(&MintBasis::EmptySession { created_ms: 0 }, 0, entropy),
    }
}
