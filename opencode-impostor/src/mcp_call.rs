//! Calls of tools that clients have added: made over MCP, with trouble on the way where a script wants some.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::mcp::Added;
use crate::script::{Delivery, McpCall};
use crate::state::World;

/// Calls a tool as it is called in a folder: what it says, or its error. `None` where there is no such tool.
pub(crate) async fn call(
    world: &Arc<World>,
    directory: &str,
    call: &McpCall,
) -> Option<Result<String, String>> {
    let (server, message) = world.quietly(|state| {
        let here = state.mcp.iter_mut();
        let mut here = here.filter(|((of, _), _)| of == directory);
        let (tool, server) = here.find_map(|((_, name), server)| {
            let tool = call.tool.strip_prefix(name.as_str())?.strip_prefix('_')?;
            server.has(tool).then(|| (tool.to_owned(), server))
        })?;
        let params = json!({"name": tool, "arguments": call.input, "_meta": {"progressToken": 0}});
        let message = server.request("tools/call", &params);
        Some((server.clone(), message))
    })?;
    let answering = deliver(world, &server, &message, &call.delivery);
    let answer = tokio::select! {
        biased;
        () = server.closed.cancelled() => Err("MCP error -32000: Connection closed".to_owned()),
        answer = answering => answer,
    };
    Some(answer.and_then(|(_, answer)| said(&answer)))
}

/// Sends a call, and reads the answer.
async fn deliver(
    world: &Arc<World>,
    server: &Added,
    message: &Value,
    delivery: &Delivery,
) -> Result<(Option<String>, Value), String> {
    match delivery {
        Delivery::Once => server.send(message).await,
        Delivery::AnswerLost => {
            let _lost = server.send(message).await;
            server.send(message).await
        }
        Delivery::Twice => {
            let (first, second) = tokio::join!(server.send(message), server.send(message));
            if first == second {
                first
            } else {
                Err("two answers to one call".to_owned())
            }
        }
        Delivery::GivenUp(gate) => {
            let given_up = async {
                world.pass(gate).await;
                let params = json!({"requestId": message["id"], "reason": "timed out"});
                let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
                server.send(&cancelled).await.ok();
                Err("MCP error -32001: Request timed out".to_owned())
            };
            tokio::select! {
                answer = server.send(message) => answer,
                given_up = given_up => given_up,
            }
        }
    }
}

/// What an answer to `tools/call` says.
fn said(answer: &Value) -> Result<String, String> {
    if let Some(error) = answer["error"]["message"].as_str() {
        return Err(format!("MCP error {}: {error}", answer["error"]["code"]));
    }
    let result = &answer["result"];
    let texts = result["content"].as_array().into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|part| part["text"].as_str()).collect();
    let text = texts.join("\n\n");
    if result["isError"] == true {
        Err(text)
    } else {
        Ok(text)
    }
}
