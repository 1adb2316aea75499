//! Servers of tools that clients add with `POST /mcp`: reached over MCP as the real server reaches them.
//!
//! Each is connected to when it is added (`initialize`, `tools/list`) and called when the script says so. They live in
//! memory, by folder, and die with the process.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// The revision of MCP that 1.18.33 speaks.
const PROTOCOL: &str = "2025-11-25";

/// An answer larger than this is not read: 64 MiB.
const BODY_LIMIT: usize = 64 << 20;

/// A server of tools, as it was added to a folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Added {
    url: String,
    headers: Vec<(String, String)>,
    /// What it wants to be called by.
    session: Option<String>,
    /// The id of the next request.
    next: u64,
    /// As `GET /mcp` tells it.
    pub(crate) status: Value,
    /// Another has taken its place, or it was forgotten: what was asked of it is not waited for.
    pub(crate) closed: CancellationToken,
    /// The names of its tools.
    tools: Vec<String>,
}

impl Added {
    /// Connects, and asks for the tools.
    pub(crate) async fn connect(config: &Value) -> Self {
        let headers = config["headers"].as_object().into_iter().flatten();
        let mut added = Self {
            url: config["url"].as_str().unwrap_or_default().to_owned(),
            headers: headers
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            ..Self::default()
        };
        added.status = match added.handshake().await {
            Ok(()) => json!({"status": "connected"}),
            Err(error) => json!({"status": "failed", "error": error}),
        };
        added
    }

    async fn handshake(&mut self) -> Result<(), String> {
        let hello = self.request(
            "initialize",
            &json!({
                "protocolVersion": PROTOCOL, "capabilities": {"roots": {}},
                "clientInfo": {"name": "opencode", "version": "1.18.33"},
            }),
        );
        self.exchange(&hello).await?;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.exchange(&initialized).await?;
        let list = self.request("tools/list", &json!({}));
        let listed = self.exchange(&list).await?;
        let tools = listed["result"]["tools"].as_array();
        let tools = tools.ok_or("Failed to get tools")?.iter();
        self.tools = tools
            .filter_map(|tool| Some(tool["name"].as_str()?.to_owned()))
            .collect();
        Ok(())
    }

    /// Whether it has a tool of this name.
    pub(crate) fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|known| known == tool)
    }

    /// A request, under the next id.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// Sends a message, and reads the answer.
    async fn exchange(&mut self, message: &Value) -> Result<Value, String> {
        let (session, answer) = self.send(message).await?;
        self.session = session.or(self.session.take());
        Ok(answer)
    }

    /// Sends a message; what the sender is to be called by from then on, and the answer.
    pub(crate) async fn send(&self, message: &Value) -> Result<(Option<String>, Value), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let url: Uri = self.url.parse().map_err(|_| "Invalid MCP URL".to_owned())?;
        let host = url.host().ok_or("Invalid MCP URL")?;
        let port = url.port_u16().unwrap_or(80);
        let socket = TcpStream::connect((host, port)).await;
        let socket =
            socket.map_err(|_| "Unable to connect. Is the computer able to access the url?")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| text(&error))?;
        let connection = tokio::spawn(connection);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(Body::from(message.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse().map_err(|_| "Invalid MCP URL".to_owned())?;
        let mut set = |name: &str, value: &str| {
            let name = header::HeaderName::try_from(name).map_err(|error| text(&error))?;
            let value = HeaderValue::try_from(value).map_err(|error| text(&error))?;
            request.headers_mut().insert(name, value);
            Ok::<_, String>(())
        };
        set("host", &format!("{host}:{port}"))?;
        set("content-type", "application/json")?;
        set("accept", "application/json, text/event-stream")?;
        if message["method"] != "initialize" {
            set("mcp-protocol-version", PROTOCOL)?;
        }
        for (name, value) in &self.headers {
            set(name, value)?;
        }
        if let Some(session) = &self.session {
            set("mcp-session-id", session)?;
        }
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| text(&error))?;
        let session = response.headers().get("mcp-session-id");
        let session = session.and_then(|session| Some(session.to_str().ok()?.to_owned()));
        let status = response.status();
        let body = axum::body::to_bytes(Body::new(response.into_body()), BODY_LIMIT).await;
        let body = body.map_err(|error| text(&error))?;
        connection.abort();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body);
            return Err(format!(
                "Streamable HTTP error: Error POSTing to endpoint (HTTP {}): {said}",
                status.as_u16()
            ));
        }
        let answer = serde_json::from_slice(&body).unwrap_or_default();
        Ok((session, answer))
    }
}
