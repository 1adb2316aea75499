//! Calls about the server itself: health, models, agents, folders.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::send::Call;
use crate::error::Error;
use crate::tolerant::{Fields, Skipped, Wire};
use crate::wire::ModelRef;

/// A request in the first moments of a server's life can stay unanswered for
/// ever (measured): a health check must be short and repeated.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a server may take to load a folder, on a busy machine. The first moments of its life are as above.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Always true when it answers.
    pub healthy: bool,
    /// The server's version, such as `1.18.33`.
    pub version: String,
}

impl Wire for Health {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        Some(Self {
            healthy: fields.flag("healthy"),
            version: fields.text("version").unwrap_or_default(),
        })
    }
}

/// The models a server can use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Models {
    /// Every usable model.
    pub available: Vec<ModelRef>,
    /// The default of each provider.
    pub defaults: Vec<ModelRef>,
    /// What each model takes beside words, as its provider or the configuration says.
    pub inputs: Vec<(ModelRef, Vec<Input>)>,
}

/// What a model may take beside words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Pictures.
    Image,
    /// PDF files.
    Pdf,
}

impl Models {
    /// Whether a model takes this; `None` where nothing is known of it.
    pub fn takes(&self, model: &ModelRef, input: Input) -> Option<bool> {
        let mut inputs = self.inputs.iter();
        let (_, taken) = inputs.find(|(known, _)| known == model)?;
        Some(taken.contains(&input))
    }
}

/// What a model's entry says that it takes (`capabilities.input`, 1.18.33).
fn inputs(model: &Value) -> Option<Vec<Input>> {
    let said = model["capabilities"]["input"].as_object()?;
    let inputs = [(Input::Image, "image"), (Input::Pdf, "pdf")];
    let taken = inputs
        .iter()
        .filter(|(_, word)| said.get(*word) == Some(&Value::Bool(true)));
    Some(taken.map(|(input, _)| *input).collect())
}

impl Client {
    /// Asks whether the server is up, within one second: `GET /global/health`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn health(&self) -> Result<Health, Error> {
        self.health_within(HEALTH_TIMEOUT).await
    }

    pub(crate) async fn health_within(&self, limit: Duration) -> Result<Health, Error> {
        self.json_within(Call::new(Method::GET, "/global/health"), limit)
            .await
    }

    /// The models that can be used with the credentials the server has:
    /// `GET /config/providers`. None at all means that nobody has logged in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn models(&self) -> Result<Models, Error> {
        let config: Value = self
            .json(Call::new(Method::GET, "/config/providers"))
            .await?;
        let mut models = Models::default();
        for provider in config["providers"].as_array().into_iter().flatten() {
            let Some(id) = provider["id"].as_str() else {
                continue;
            };
            for (name, entry) in provider["models"].as_object().into_iter().flatten() {
                let model = ModelRef {
                    provider: id.to_owned(),
                    model: name.clone(),
                };
                if let Some(inputs) = inputs(entry) {
                    models.inputs.push((model.clone(), inputs));
                }
                models.available.push(model);
            }
        }
        for (provider, model) in config["default"].as_object().into_iter().flatten() {
            if let Some(model) = model.as_str() {
                models.defaults.push(ModelRef {
                    provider: provider.clone(),
                    model: model.to_owned(),
                });
            }
        }
        Ok(models)
    }

    /// The names of the agents a prompt may name: `GET /agent`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn agents(&self) -> Result<Vec<String>, Error> {
        let agents: Vec<Value> = self.json(Call::new(Method::GET, "/agent")).await?;
        Ok(agents
            .iter()
            .filter_map(|agent| agent["name"].as_str())
            .map(ToOwned::to_owned)
            .collect())
    }

    /// Has the server load what configures the folder it was started in, its plugins included: `GET /api/agent`. The
    /// plugins may run a moment after the answer (1.18.33). Servers before 1.17 have no such call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn load_own_folder(&self) -> Result<(), Error> {
        let call = Call::new(Method::GET, "/api/agent");
        let _agents: Value = self.json_within(call, LOAD_TIMEOUT).await?;
        Ok(())
    }
}
