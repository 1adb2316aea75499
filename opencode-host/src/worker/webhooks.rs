//! Telling endpoints what happened: each event is noted for each endpoint first, and each of these is sent by itself.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::shared::Shared;
use crate::clock::Timestamp;
use crate::id::{ConversationId, EffectId};
use crate::product::HookError;
use crate::store::{
    AskedRequest, Conversation, Effect, EffectKind, Metadata, Tried, TurnStatus, WebhookEvent,
};
use crate::turn::TurnResult;
use crate::webhooks::{NotDelivered, Outgoing, Webhook, Webhooks};

/// What else there is to do for a try: reading rows, writing down what came of it.
const REST: Duration = Duration::from_secs(10);

/// How long a try to send a webhook takes at most.
pub(super) fn longest_try(shared: &Shared) -> Duration {
    let sending = shared.webhooks.as_deref().map(Webhooks::timeout);
    let asking = shared.workshop.options.plug_in_limit;
    sending.unwrap_or_default().saturating_add(asking) + REST
}

/// What an effect tells of, if endpoints are told of it and that is not noted for each of them yet.
fn event_of(kind: &EffectKind) -> Option<WebhookEvent> {
    match kind {
        EffectKind::Deletion { told: false, .. } => Some(WebhookEvent::ConversationDeleted),
        EffectKind::TurnEnd { told: false, .. } => Some(WebhookEvent::TurnFinished),
        EffectKind::Asked(_) => Some(WebhookEvent::RequestAsked),
        _ => None,
    }
}

/// Notes an effect for each endpoint that is to be told of it, unless that was done. False where another worker has it by
/// now: there is nothing left to do of it here.
pub(super) async fn note_for_each(shared: &Shared, effect: &mut Effect) -> Result<bool, HookError> {
    let (Some(webhooks), Some(event)) = (&shared.webhooks, event_of(&effect.kind)) else {
        return Ok(true);
    };
    let endpoints = endpoints(shared, webhooks, effect).await?;
    let mut owed = Vec::new();
    if endpoints.iter().any(|endpoint| endpoint.wants(event)) {
        let (at, data) = told(shared, effect).await?;
        let now = shared.front.store.now().await?;
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.wants(event)) {
            let kind = EffectKind::Webhook {
                endpoint: endpoint.name().to_owned(),
                to: endpoint.to(),
                event,
                at,
                data: data.clone(),
            };
            let id = id_for(effect.id, endpoint);
            owed.push(Effect::new(id, &effect.tenant, kind, now));
        }
    }
    if let EffectKind::Deletion { told, .. } | EffectKind::TurnEnd { told, .. } = &mut effect.kind {
        *told = true;
    }
    let is_ours = shared.front.store.follow_effect(effect, &owed).await?;
    if is_ours && !owed.is_empty() {
        shared.front.effect_noted.notify_waiters();
    }
    Ok(is_ours)
}

/// What follows for one endpoint from an effect: always the same.
pub(super) fn id_for(of: EffectId, endpoint: &Webhook) -> EffectId {
    EffectId::derived(of, &format!("webhook {}", endpoint.name()))
}

async fn endpoints(
    shared: &Shared,
    webhooks: &Webhooks,
    of: &Effect,
) -> Result<Vec<Webhook>, HookError> {
    let limit = shared.workshop.options.plug_in_limit;
    webhooks.of(&of.tenant, limit).await
}

/// Sends a webhook. One whose endpoint is not there any more is done.
pub(super) async fn send(shared: &Shared, effect: &Effect) -> Result<Tried, HookError> {
    let EffectKind::Webhook {
        endpoint,
        event,
        at,
        data,
        ..
    } = &effect.kind
    else {
        return Ok(Tried::Done);
    };
    let Some(webhooks) = &shared.webhooks else {
        return Err("this worker was built without webhooks".into());
    };
    let endpoints = endpoints(shared, webhooks, effect).await?;
    let Some(to) = endpoints.iter().find(|known| known.name() == endpoint) else {
        return Ok(Tried::Done);
    };
    let body = json!({"type": event, "timestamp": rfc3339(*at), "data": data}).to_string();
    let outgoing = Outgoing {
        id: effect.id.to_string(),
        at: shared.front.store.now().await?,
        body: body.as_bytes(),
    };
    webhooks.send(to, &outgoing).await?;
    Ok(Tried::Done)
}

/// What becomes of a webhook that was not delivered, if the receiver has a say in it: when it is tried again instead of
/// behind `pause`, at most `longest` from now; `None` for never.
pub(super) fn receiver_says(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    pause: Duration,
    longest: Duration,
) -> Option<Duration> {
    match error.downcast_ref::<NotDelivered>() {
        Some(error) if error.is_final() => None,
        Some(error) => Some(
            error
                .retry_after()
                .unwrap_or_default()
                .clamp(pause, longest),
        ),
        None => Some(pause),
    }
}

fn rfc3339(at: Timestamp) -> String {
    let since = Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    // What no calendar has is told as the first moment.
    let moment = std::time::UNIX_EPOCH.checked_add(since);
    let last = Duration::from_secs(253_402_300_799);
    let moment = moment.filter(|_| since <= last);
    humantime::format_rfc3339_millis(moment.unwrap_or(std::time::UNIX_EPOCH)).to_string()
}

/// When it happened, and what is told of it. Where the rows are gone, what the effect itself has.
async fn told(
    shared: &Shared,
    effect: &Effect,
) -> Result<(Timestamp, Map<String, Value>), HookError> {
    let store = &shared.front.store;
    let mut at = effect.created_at;
    let mut data = Map::from_iter([("tenant".to_owned(), json!(effect.tenant))]);
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    match &effect.kind {
        EffectKind::Deletion {
            conversation,
            name,
            metadata,
            ..
        } => {
            let told = json!({"id": conversation, "name": name, "metadata": metadata});
            put("conversation", told);
        }
        EffectKind::TurnEnd {
            conversation,
            turn,
            message,
            status,
            ..
        } => {
            let known = store.conversation(*conversation).await?;
            put("conversation", conversation_of(known, *conversation));
            let row = store.turn(*turn).await?;
            let filled = store.message(*message).await?;
            let result = row.zip(filled).and_then(|(row, filled)| {
                at = row.finished_at().unwrap_or(at);
                TurnResult::of(&row, &filled, Vec::new())
            });
            put(
                "turn",
                match result {
                    Some(result) => ended(&result),
                    None => json!({"id": turn, "message": message, "status": status}),
                },
            );
        }
        EffectKind::Asked(asked) => {
            let AskedRequest {
                conversation,
                turn,
                message,
                request,
                permission,
            } = asked;
            let known = store.conversation(*conversation).await?;
            put("conversation", conversation_of(known, *conversation));
            let row = store.turn(*turn).await?;
            let metadata = row.map(|row| row.metadata).unwrap_or_default();
            let told = json!({"id": turn, "message": message, "metadata": metadata});
            put("turn", told);
            let told = match permission {
                Some(permission) => {
                    json!({"id": request, "kind": "permission", "permission": permission})
                }
                None => json!({"id": request, "kind": "question"}),
            };
            put("request", told);
        }
        EffectKind::LeftSession { .. } | EffectKind::Webhook { .. } => {}
    }
    Ok((at, data))
}

fn conversation_of(known: Option<Conversation>, id: ConversationId) -> Value {
    match known {
        Some(known) => json!({"id": id, "name": known.name, "metadata": known.metadata}),
        None => json!({"id": id}),
    }
}

/// How a turn ended, without what was said in it.
fn ended(result: &TurnResult) -> Value {
    let TurnResult {
        turn,
        message,
        metadata,
        status,
        cancel_reason,
        answer,
        duration,
        ..
    } = result;
    let (metadata, status): (&Metadata, &TurnStatus) = (metadata, status);
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut told = json!({
        "id": turn, "message": message, "metadata": metadata, "status": status, "duration_ms": millis,
        "usage": answer.usage,
    });
    if let Some(reason) = answer.reason {
        told["reason"] = json!(reason);
    }
    if let Some(reason) = cancel_reason {
        told["cancel_reason"] = json!(reason);
    }
    told
}
