//! The routes: a file per noun. Each is described where it is, and what is described is what is routed.

mod ag_ui;
mod approvals;
mod chat_message;
mod conversations;
mod description;
mod encoding;
mod events;
mod export;
mod files;
mod inline_files;
mod messages;
mod requests;
mod schedules;
mod spending;
mod submit;
mod turns;
mod ui_chat;
mod versions;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::settings::Settings;

/// All routes, and their description.
pub(crate) fn all() -> OpenApiRouter<Settings> {
    OpenApiRouter::with_openapi(description::base())
        .routes(routes!(conversations::list, conversations::open))
        .routes(routes!(conversations::show, conversations::delete))
        .routes(routes!(conversations::note))
        .routes(routes!(export::export))
        .routes(routes!(messages::list))
        .routes(routes!(messages::show))
        .routes(routes!(turns::active, submit::submit))
        .routes(routes!(turns::show))
        .routes(routes!(turns::result))
        .routes(routes!(turns::cancel))
        .routes(routes!(versions::retry))
        .routes(routes!(versions::regenerate))
        .routes(routes!(versions::edit))
        .routes(routes!(versions::choose))
        .routes(routes!(versions::list))
        .routes(routes!(versions::fork))
        .routes(routes!(schedules::list, schedules::add))
        .routes(routes!(schedules::show, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(events::events))
        .routes(routes!(requests::answer))
        .routes(routes!(files::show))
        .routes(routes!(spending::show))
        .routes(routes!(ui_chat::send))
        .routes(routes!(ui_chat::resume))
        .routes(routes!(ui_chat::stop))
        .routes(routes!(ag_ui::run))
        .routes(routes!(description::show))
}

pub(crate) use description::finished;
