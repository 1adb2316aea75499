//! What is said in MCP: which tools there are, and what a call came to.

use std::sync::Arc;

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelledNotificationParam,
    ContentBlock, ErrorData, Extensions, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer};

use super::calls::{CallKey, Calls};

/// Who calls: put into a request once its token was looked at.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) calls: Arc<Calls>,
    /// Which of the server's clients it is: each numbers its calls.
    pub(super) client: Arc<str>,
}

impl Caller {
    fn of(extensions: &Extensions) -> Result<Self, ErrorData> {
        let parts = extensions.get::<hyper::http::request::Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<Self>());
        caller
            .cloned()
            .ok_or_else(|| ErrorData::internal_error("nobody is known to call", None))
    }

    fn key(&self, id: &impl ToString) -> CallKey {
        CallKey {
            client: Arc::clone(&self.client),
            id: id.to_string(),
        }
    }
}

/// Answers one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol;

impl ServerHandler for Protocol {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let this = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(this)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = Caller::of(&context.extensions)?;
        let tools = caller.calls.tools.tools().map(|tool| {
            let schema = tool.schema.as_object().cloned().unwrap_or_default();
            Tool::new(tool.name.clone(), tool.description.clone(), schema)
        });
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = Caller::of(&context.extensions)?;
        let arguments = request.arguments.unwrap_or_default();
        let calling = caller
            .calls
            .answer(caller.key(&context.id), &request.name, arguments);
        let answer = calling.await;
        let said = |words: &String| vec![ContentBlock::text(words.clone())];
        Ok(match &*answer {
            Ok(output) => CallToolResult::success(said(output)),
            Err(error) => CallToolResult::error(said(error)),
        }
        .into())
    }

    async fn on_cancelled(
        &self,
        notification: CancelledNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        // It comes behind a call that was answered, too: that changes nothing.
        if let (Ok(caller), Some(id)) = (Caller::of(&context.extensions), notification.request_id) {
            caller.calls.give_up(&caller.key(&id));
        }
    }

    async fn on_initialized(&self, _: NotificationContext<RoleServer>) {}
}
