//! What pages are made of: rows in, HTML out.

pub(crate) mod assets;
pub(crate) mod conversation_list;
pub(crate) mod decision;
pub(crate) mod escape;
pub(crate) mod failed_answer;
pub(crate) mod file_card;
pub(crate) mod layout;
pub(crate) mod live_answer;
pub(crate) mod markdown;
pub(crate) mod message;
pub(crate) mod message_list;
pub(crate) mod part;
pub(crate) mod patch;
pub(crate) mod pending_answer;
pub(crate) mod pending_request;
pub(crate) mod problem_page;
pub(crate) mod tool;
pub(crate) mod versions;
