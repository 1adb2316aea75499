//! Calls about servers of tools: added to a folder while OpenCode runs, listed; and the tools that it has of its own.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::send::Call;
use crate::error::Error;
use crate::tolerant::{Fields, Skipped, Wire};

/// A server of tools that OpenCode reaches over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteTools {
    /// Where.
    pub url: String,
    /// What OpenCode says with every request: `Authorization: Bearer …`. Not shown.
    pub token: String,
    /// How long OpenCode waits for a connection, for the list of tools, and for each call.
    pub timeout: Duration,
}

impl fmt::Debug for RemoteTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTools")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// How OpenCode stands with a server of tools.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolsStatus {
    /// It has its list of tools.
    Connected,
    /// It is not to use them.
    Disabled,
    /// It could not connect, and says why.
    Failed(String),
    /// Anything else, such as `needs_auth`.
    Other(String),
}

impl Wire for ToolsStatus {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let status = fields.text("status")?;
        Some(match status.as_str() {
            "connected" => Self::Connected,
            "disabled" => Self::Disabled,
            "failed" => Self::Failed(fields.text("error").unwrap_or_default()),
            _ => Self::Other(status),
        })
    }
}

impl Client {
    /// Adds a server of tools to the client's folder, in the place of an earlier one of this name: `POST /mcp`. OpenCode
    /// connects to it before it answers, and forgets it when it is started anew. Nothing is sent behind `not_after`: who
    /// decided to add them may have been suspended since, and somebody else may have taken their place.
    ///
    /// # Errors
    /// See [`Error`]. That OpenCode could not connect is no error but a [`ToolsStatus`]. What a server says of a request
    /// that it refuses is left out where it repeats the token.
    pub async fn add_tools(
        &self,
        name: &str,
        tools: &RemoteTools,
        not_after: Instant,
    ) -> Result<ToolsStatus, Error> {
        let config = json!({
            "type": "remote",
            "url": tools.url,
            "headers": {"Authorization": format!("Bearer {}", tools.token)},
            "enabled": true,
            // Or a refusal is answered with a search for somewhere to log in.
            "oauth": false,
            "timeout": tools.timeout.as_millis() as u64,
        });
        let call = Call::new(Method::POST, "/mcp").body(json!({"name": name, "config": config}));
        let call = call.not_after(not_after);
        let added: HashMap<String, ToolsStatus> = self
            .json(call)
            .await
            .map_err(|error| without(&tools.token, error))?;
        let status = added.into_iter().find(|(added, _)| added == name);
        let absent = || ToolsStatus::Other("not added".to_owned());
        Ok(status.map_or_else(absent, |(_, status)| status))
    }

    /// The servers of tools in the client's folder, configured and added ones: `GET /mcp`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tools_statuses(&self) -> Result<HashMap<String, ToolsStatus>, Error> {
        self.json(Call::new(Method::GET, "/mcp")).await
    }

    /// The servers of tools that OpenCode's configuration has for the client's folder: `GET /config`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn configured_tools(&self) -> Result<Vec<String>, Error> {
        let config: Value = self.json(Call::new(Method::GET, "/config")).await?;
        let names = config["mcp"].as_object().into_iter().flatten();
        Ok(names.map(|(name, _)| name.clone()).collect())
    }

    /// The names of the tools that OpenCode has itself in the client's folder, plugins' included:
    /// `GET /experimental/tool/ids`. Those of servers of tools are not among them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn own_tools(&self) -> Result<Vec<String>, Error> {
        let ids: Vec<Value> = self
            .json(Call::new(Method::GET, "/experimental/tool/ids"))
            .await?;
        Ok(ids
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect())
    }
}

/// An error without a secret that the server may have repeated, in part too.
fn without(secret: &str, mut error: Error) -> Error {
    if let Error::BadRequest { message, .. } | Error::Server { message, .. } = &mut error
        && let Some(start) = secret.get(..8)
        && let Some(at) = message.find(start)
    {
        message.truncate(at);
        message.push('…');
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_neither_whole_nor_in_part() {
        let tools = RemoteTools {
            url: "http://127.0.0.1:1/x".to_owned(),
            token: "0123456789abcdef".to_owned(),
            timeout: Duration::from_secs(1),
        };
        assert!(!format!("{tools:?}").contains("0123"));
        let refused = Error::BadRequest {
            call: "POST /mcp".to_owned(),
            status: 400,
            message: "Expected string, got Bearer 0123456789ab".to_owned(),
        };
        let said = without(&tools.token, refused).to_string();
        assert!(
            said.contains("got Bearer …") && !said.contains("0123"),
            "{said}"
        );
    }
}
