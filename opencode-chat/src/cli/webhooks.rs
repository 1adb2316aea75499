//! Who is told what happens.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use opencode_host::webhooks::{Webhook, WebhookEvent, WebhookSecret, Webhooks};

use super::secret_file::{Secret, read};
use crate::exit::Failure;

/// The endpoint's name: what is noted for it outlives a change of its address.
const NAME: &str = "webhook";

/// What addresses are looked at with before there is a secret.
const NO_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Who is told what happens. The same in all processes on a database.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_field_names, reason = "a field is named as its option")]
pub(crate) struct WebhookArgs {
    /// An address that is told when a turn ends, when the agent asks and when a conversation is deleted: signed after
    /// Standard Webhooks, without prompts and answers, tried for about a day. https:// or, on this machine, http://. Give
    /// all processes on a database the same
    #[arg(long, value_name = "URL", env = "OPENCODE_CHAT_WEBHOOK_URL", value_parser = address)]
    pub(crate) webhook_url: Option<String>,
    /// The secret that webhooks are signed with. Every user of this machine sees it in the list of processes (ps): better
    /// set the variable, or give a file
    #[arg(
        long,
        value_name = "SECRET",
        env = "OPENCODE_CHAT_WEBHOOK_SECRET",
        hide_env_values = true
    )]
    pub(crate) webhook_secret: Option<String>,
    /// A file with that secret in its one line, as `echo whsec_$(openssl rand -base64 32)` makes it
    #[arg(long, value_name = "PATH", env = "OPENCODE_CHAT_WEBHOOK_SECRET_FILE")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// What is told: turn.finished, request.asked or conversation.deleted; give it once for each [default: all]
    #[arg(
        long,
        value_name = "EVENT",
        env = "OPENCODE_CHAT_WEBHOOK_EVENT",
        value_delimiter = ',',
        value_parser = event
    )]
    pub(crate) webhook_event: Vec<WebhookEvent>,
    /// A host of webhook addresses that may be on this machine or in a private network, such as localhost, 10.0.0.7 or
    /// hooks.internal; give it once for each. Others are told nothing where their name leads there
    #[arg(
        long,
        value_name = "HOST",
        env = "OPENCODE_CHAT_WEBHOOK_PRIVATE_HOST",
        value_delimiter = ',',
        value_parser = host
    )]
    pub(crate) webhook_private_host: Vec<String>,
}

/// Webhooks as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct AskedWebhooks {
    pub(crate) webhooks: Option<Webhooks>,
    /// What the person must know.
    pub(crate) warning: Option<String>,
}

impl AskedWebhooks {
    /// The webhooks, once the person was told.
    pub(crate) fn told(self) -> Option<Webhooks> {
        if let Some(warning) = self.warning {
            tracing::warn!("{warning}");
        }
        self.webhooks
    }
}

impl WebhookArgs {
    /// The webhooks for a worker; none without an address.
    pub(crate) fn webhooks(&self) -> Result<AskedWebhooks, Failure> {
        let Some(url) = &self.webhook_url else {
            return Ok(AskedWebhooks::default());
        };
        let Secret { value, warning } = self.secret()?;
        let secret = value.unwrap_or_default().parse::<WebhookSecret>();
        let secret = secret.map_err(|error| {
            let key = match self.webhook_secret {
                Some(_) => "--webhook-secret",
                None => "--webhook-secret-file",
            };
            Failure::configuration(format!("{error} ({key})"))
        })?;
        let refused = |error: &dyn std::fmt::Display| {
            Failure::configuration(format!("{error} (--webhook-url)"))
        };
        let mut webhook = Webhook::new(NAME, url, secret).map_err(|error| refused(&error))?;
        if !self.webhook_event.is_empty() {
            webhook = webhook.events(self.webhook_event.iter().copied());
        }
        if let Some(host) = self.unreached(url) {
            return Err(refused(&format_args!(
                "webhooks are not sent to {host}, which is no public address: add --webhook-private-host {host}"
            )));
        }
        let mut builder = Webhooks::builder(vec![webhook]);
        for host in &self.webhook_private_host {
            builder = builder.allow_private(host);
        }
        let webhooks = builder.build().map_err(|error| refused(&error))?;
        Ok(AskedWebhooks {
            webhooks: Some(webhooks),
            warning: warning.map(|warning| warning.replace("the password", "the webhook secret")),
        })
    }

    /// The secret, from wherever it was given.
    fn secret(&self) -> Result<Secret, Failure> {
        match (&self.webhook_secret, &self.webhook_secret_file) {
            (Some(_), Some(_)) => Err(Failure::configuration(
                "two secrets for webhooks are given: leave out --webhook-secret (OPENCODE_CHAT_WEBHOOK_SECRET) or \
                 --webhook-secret-file (OPENCODE_CHAT_WEBHOOK_SECRET_FILE)",
            )),
            (None, None) => Err(Failure::configuration(
                "--webhook-url needs a secret: make one with `echo whsec_$(openssl rand -base64 32) > FILE`, and name the \
                 file with --webhook-secret-file",
            )),
            (None, Some(path)) => read(path).map_err(|why| {
                Failure::configuration(format!(
                    "cannot take the secret for webhooks from {}: {why} (--webhook-secret-file)",
                    path.display()
                ))
            }),
            (value, None) => Ok(Secret {
                value: value.clone(),
                warning: None,
            }),
        }
    }

    /// The host, where it is an address of this machine or of a private network and was not allowed: nothing would ever be
    /// sent. Where a name leads is not known before.
    fn unreached(&self, url: &str) -> Option<String> {
        let url = url.parse::<axum::http::Uri>().ok()?;
        let host = url.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let is_private = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                address.is_loopback() || address.is_private() || address.is_link_local()
            }
            Ok(IpAddr::V6(address)) => {
                address.is_loopback()
                    || address.is_unique_local()
                    || address.is_unicast_link_local()
            }
            Err(_) => host == "localhost",
        };
        let is_allowed = self
            .webhook_private_host
            .iter()
            .any(|allowed| allowed.trim_matches(['[', ']']).eq_ignore_ascii_case(&host));
        (is_private && !is_allowed).then_some(host)
    }
}

/// What `--webhook-url` takes.
fn address(text: &str) -> Result<String, String> {
    let secret = NO_SECRET
        .parse::<WebhookSecret>()
        .map_err(|error| error.to_string())?;
    let webhook = Webhook::new(NAME, text, secret).map_err(|error| error.to_string())?;
    drop(webhook);
    Ok(text.trim().to_owned())
}

fn event(text: &str) -> Result<WebhookEvent, String> {
    let mut all = WebhookEvent::ALL.into_iter();
    let known = all.find(|event| event.as_str() == text.trim());
    known.ok_or_else(|| {
        let all = WebhookEvent::ALL.map(WebhookEvent::as_str);
        format!("there are {}", all.join(", "))
    })
}

/// A name or an address alone.
fn host(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_address = text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_name = !text.is_empty() && !text.contains(['/', ':', '@', '*', ' ']);
    if is_address || is_name {
        Ok(text.to_owned())
    } else {
        Err("give a name or an address alone, as it stands in the webhook's address".to_owned())
    }
}
