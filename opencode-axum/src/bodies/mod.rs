//! What the routes say and are told, as JSON: documents of the router's own, so that what a store keeps for itself stays
//! there, and what is said does not change with it.
//!
//! Times are milliseconds since 1970 (UTC). Ids are UUIDs.

mod changes;
mod conversations;
mod event;
mod messages;
mod parts;
mod schedules;
mod spending;
mod turns;

pub(crate) use changes::TurnEvents;
pub(crate) use conversations::{Conversation, ConversationPage, NewConversation};
pub(crate) use event::ServerSentEvent;
pub(crate) use messages::{Message, MessagePage};
pub(crate) use schedules::{NewSchedule, Schedule, ScheduleList};
pub(crate) use spending::Spending;
pub(crate) use turns::{
    Answered, Cancel, Cancelled, Edit, NewTurn, RequestAnswer, Result, Turn, TurnPage, VersionList,
};
