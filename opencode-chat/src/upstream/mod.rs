//! The OpenCode server this process talks to: one that runs already, one that
//! is started and stopped here, or a stand-in.

use opencode_client::{Client, Error as ClientError};
use opencode_impostor::Impostor;

use crate::cli::{StoreArgs, UpstreamArgs};
use crate::exit::Failure;

/// The server this process talks to.
pub(crate) struct Upstream {
    /// Talks to it.
    pub(crate) client: Client,
    /// What it is.
    pub(crate) kind: Kind,
    impostor: Option<Impostor>,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It ran already, at a URL the person gave.
    Given,
    /// The stand-in: nothing it says comes from a model.
    Impostor,
}

impl Upstream {
    /// The server the arguments name, or the best there is. It answers.
    pub(crate) async fn find(args: &UpstreamArgs, _store: &StoreArgs) -> Result<Self, Failure> {
        if let Some(url) = &args.opencode_url {
            let mut builder = Client::builder(url);
            if let Some(password) = &args.opencode_password {
                builder = builder.password(password);
            }
            let client = builder.build()?;
            reachable(&client).await?;
            return Ok(Self { client, kind: Kind::Given, impostor: None });
        }
        let impostor =
            Impostor::start().await.map_err(|error| Failure::error(format!("cannot start the stand-in: {error}")))?;
        let client = Client::builder(impostor.url()).build()?;
        Ok(Self { client, kind: Kind::Impostor, impostor: Some(impostor) })
    }

    /// Stops what was started here.
    pub(crate) async fn stop(self) {
        if let Some(impostor) = self.impostor {
            impostor.kill().await;
        }
    }
}

/// Whether a server answers at all, with this password.
async fn reachable(client: &Client) -> Result<(), Failure> {
    let mut last = None;
    for _ in 0..3 {
        match client.health().await {
            // An odd answer is an answer: the calls that matter say what is wrong.
            Ok(_) | Err(ClientError::Server { .. } | ClientError::BadRequest { .. }) => return Ok(()),
            Err(error @ (ClientError::Unauthorized { .. } | ClientError::Configuration(_))) => return Err(error.into()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Failure::error("OpenCode does not answer"), Into::into))
}
