//! What there is to name in a prompt: agents and models.

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};

use crate::requests::Server;

/// The agents of a server that was told of none.
const AGENTS: [&str; 4] = ["build", "plan", "general", "explore"];

/// `GET /agent`
pub(super) async fn agents(Shared(world): Server) -> Json<Value> {
    let agent = |name: &str| {
        let mode = match name {
            "general" | "explore" => "subagent",
            _ => "primary",
        };
        json!({"name": name, "mode": mode, "native": true, "permission": [], "options": {}})
    };
    Json(match &world.config.agents {
        Some(named) => named.iter().map(|name| agent(name)).collect(),
        None => AGENTS.iter().map(|name| agent(name)).collect(),
    })
}

/// `GET /config/providers`
pub(super) async fn providers(Shared(world): Server) -> Json<Value> {
    let all = [("local".to_owned(), "scripted".to_owned())];
    let models = world.config.models.as_deref().unwrap_or(&all);
    let mut providers: Vec<Value> = Vec::new();
    let mut default = json!({});
    for (provider, model) in models {
        let known = providers
            .iter()
            .position(|known| known["id"] == provider.as_str());
        let at = known.unwrap_or_else(|| {
            default[provider] = model.as_str().into();
            providers.push(json!({
                "id": provider, "name": provider, "source": "config", "env": [], "options": {}, "models": {},
            }));
            providers.len() - 1
        });
        // Those called `seeing` take pictures and PDFs, as that of the model provider's configuration.
        let sees = model == "seeing";
        providers[at]["models"][model] = json!({
            "id": model, "name": model, "providerID": provider,
            "capabilities": {"input": {"text": true, "image": sees, "pdf": sees}},
        });
    }
    Json(json!({"providers": providers, "default": default}))
}
