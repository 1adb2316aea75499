//! What browsers send: fields, files, prompts.

pub(crate) mod again;
pub(crate) mod beginnings;
pub(crate) mod done;
pub(crate) mod fields;
pub(crate) mod prompt;
pub(crate) mod refused;
pub(crate) mod submission;
