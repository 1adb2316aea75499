//! A prompt on its way in: JSON, or a form with files.
//!
//! A form has the field `turn`, which is what is sent without files, and the files, which go through as they come. Where
//! `turn` comes first, a prompt that cannot be is refused before the first byte of a file.

use axum::Json as Answer;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse as _, Response};
use opencode_client::wire::{ModelRef, Prompt};
use opencode_host::SubmitOptions;
use opencode_host::clock::Timestamp;
use opencode_host::id::ConversationId;
use opencode_host::store::Submitted;
use opencode_host::uploads::{MAX_FILES, Upload, Uploads};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use utoipa::ToSchema;

use crate::authorize::Scope;
use crate::bodies::{NewTurn, Turn};
use crate::file::is_plain_type;
use crate::multipart::{Multipart, MultipartError};
use crate::problem::Problem;
use crate::request::{ClientKey, Id, Json, Text, unfit, wrong_type};
use crate::settings::Settings;

/// What is asked, and the files that come with it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a form")]
pub(crate) struct TurnForm {
    /// What is asked, as JSON.
    turn: NewTurn,
    /// The files.
    #[schema(value_type = Vec<String>, format = Binary, required = false)]
    files: Vec<Vec<u8>>,
}

/// Asks something: queues a turn, which a worker takes up. With an `Idempotency-Key`, the same request is the same turn
/// however often it is sent; another request with that key is refused.
#[utoipa::path(
    post,
    path = "/conversations/{conversation}/turns",
    tag = "turns",
    operation_id = "submit_turn",
    params(
        ("conversation" = Uuid, Path, description = "The conversation."),
        ClientKey
    ),
    request_body(content((NewTurn = "application/json"), (TurnForm = "multipart/form-data"))),
    responses(
        (status = 201, description = "The turn is queued.", body = Turn, headers(("location" = String, description = "Where the turn is."))),
        (status = 200, description = "The turn that this request has made before.", body = Turn)
    )
)]
pub(crate) async fn submit(
    State(settings): State<Settings>,
    scope: Scope,
    Id(conversation): Id<ConversationId>,
    ClientKey(client_key): ClientKey,
    request: Request,
) -> Result<Response, Problem> {
    scope.host.conversation(conversation).await?;
    let submission = tokio::select! {
        submission = Submission::read(request, &settings, &scope, conversation) => submission?,
        // An application that stops waits for nobody's upload.
        () = settings.shutdown.cancelled() => {
            let detail = "The application is being stopped. Send it again when it is back.";
            return Err(Problem::unavailable(detail));
        }
    };
    let (prompt, options) = submission.checked(&scope)?;
    let options = SubmitOptions {
        client_key,
        ..options
    };
    let submitted = submit_once(&scope, conversation, prompt, options).await?;
    let status = if submitted.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    // From this address, wherever the router is mounted.
    let place = format!("../../turns/{}", submitted.turn.id);
    Ok((
        status,
        [(LOCATION, place)],
        Answer(Turn::from(submitted.turn)),
    )
        .into_response())
}

/// Queues a turn, or finds the one that the same request has made before.
///
/// # Errors
/// `key_reused` where the client key is that of another request.
pub(crate) async fn submit_once(
    scope: &Scope,
    conversation: ConversationId,
    prompt: Prompt,
    options: SubmitOptions,
) -> Result<Submitted, Problem> {
    let metadata = options.metadata.clone();
    let place = (options.priority, options.not_before);
    let files = options.uploads.as_ref();
    let files = files.map_or_else(Vec::new, |uploads| uploads.files().to_vec());
    let submitted = scope.host.submit(conversation, prompt.clone(), options);
    let submitted = submitted.await?;
    if submitted.created {
        return Ok(submitted);
    }
    let turn = &submitted.turn;
    let is_same = turn.metadata == metadata
        && (turn.priority, turn.not_before) == place
        && is_same(scope, &submitted, &prompt, &files).await?;
    if is_same {
        return Ok(submitted);
    }
    Err(key_reused())
}

pub(crate) fn key_reused() -> Problem {
    let detail = "The key was used for another request in this conversation. Use a new one.";
    Problem::conflict("key_reused", detail)
}

/// Whether a turn that was there is what this request asks for.
async fn is_same(
    scope: &Scope,
    submitted: &Submitted,
    prompt: &Prompt,
    files: &[Upload],
) -> Result<bool, Problem> {
    let turn = &submitted.turn;
    // Of a prompt with files the text names them, as they are called in the sandbox, and so do those that the model is
    // shown: the files themselves are compared.
    let said = scope.host.message(turn.user_message).await?.answer.content;
    let known = Prompt {
        text: said,
        files: prompt.files.clone(),
        ..turn.prompt.clone()
    };
    let kept = scope.host.attachments(turn.user_message).await?;
    let same_file = |(kept, new): (&opencode_host::store::Attachment, &Upload)| {
        kept.name == new.name && kept.digest == new.digest
    };
    Ok(known == *prompt && kept.len() == files.len() && kept.iter().zip(files).all(same_file))
}

/// What came.
struct Submission {
    new: NewTurn,
    uploads: Option<Uploads>,
}

/// The longest name of an agent or a model, in characters.
const MAX_NAME: usize = 200;

/// The end of the year 9999, epoch milliseconds.
const LAST_MOMENT: i64 = 253_402_300_799_999;

impl Submission {
    /// What is asked and how, where the caller may say so.
    fn checked(self, scope: &Scope) -> Result<(Prompt, SubmitOptions), Problem> {
        let Self { new, uploads } = self;
        let metadata = new.metadata.unwrap_or_default();
        if !metadata.is_empty() {
            scope.check_notes()?;
        }
        if new.agent.is_some() || new.model.is_some() || new.system.is_some() {
            scope.check_instructs()?;
        }
        if new.priority.is_some() || new.not_before.is_some() {
            scope.check_schedules()?;
        }
        let prompt = Prompt {
            agent: new.agent.map(|agent| name(agent, "agent")).transpose()?,
            model: new.model.map(model).transpose()?,
            system: new.system.map(Into::into),
            ..Prompt::text(new.prompt.0)
        };
        if new
            .not_before
            .is_some_and(|at| !(0..=LAST_MOMENT).contains(&at))
        {
            let detail =
                "not_before is a time in milliseconds since 1970-01-01, before the year 10000.";
            return Err(Problem::unprocessable("bad_time", detail));
        }
        let options = SubmitOptions {
            metadata,
            on_busy: new.on_busy,
            priority: new.priority.unwrap_or_default(),
            not_before: new.not_before.map(Timestamp),
            uploads,
            ..SubmitOptions::default()
        };
        Ok((prompt, options))
    }

    async fn read(
        request: Request,
        settings: &Settings,
        scope: &Scope,
        conversation: ConversationId,
    ) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE);
        let is_form = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
        if !is_form {
            let Json(new) = Json::from_request(request, settings).await?;
            return Ok(Self { new, uploads: None });
        }
        let (parts, body) = request.into_parts();
        let fields = 2 * settings.max_body as u64;
        let files = settings.max_upload.saturating_mul(MAX_FILES as u64);
        let form = Multipart::new(&parts.headers, body, files.saturating_add(fields));
        let mut form = form.ok_or_else(|| wrong_type("application/json or multipart/form-data"))?;
        let read = Self::of_form(&mut form, settings, scope, conversation).await;
        if read.is_err() {
            // Who sends a form reads no answer before all is sent.
            form.pass_over().await;
        }
        read
    }

    async fn of_form(
        form: &mut Multipart,
        settings: &Settings,
        scope: &Scope,
        conversation: ConversationId,
    ) -> Result<Self, Problem> {
        let (mut new, mut uploads) = (None, None::<Uploads>);
        while let Some(part) = form.next_part().await? {
            let Some(name) = part.file_name else {
                if part.name != "turn" || new.is_some() {
                    return Err(malformed("beside one field \"turn\" there are files only"));
                }
                new = Some(turn_of(form, settings.max_body).await?);
                continue;
            };
            let first = form.chunk().await?;
            // A form without a file has one without a name and a byte.
            if first.is_none() && name.is_empty() {
                continue;
            }
            let uploads = match &mut uploads {
                Some(uploads) => uploads,
                none => none.insert(scope.host.uploads(conversation).await?),
            };
            let first = first.unwrap_or_default();
            let content = first.chain(form.content());
            let kind = part.content_type.filter(|kind| is_plain_type(kind));
            uploads.add(&name, kind.as_deref(), content).await?;
        }
        let new = new.ok_or_else(|| malformed("it has no field \"turn\""))?;
        Ok(Self { new, uploads })
    }
}

/// A name that is one: not empty, nor longer than names are.
fn name(text: Text, of: &str) -> Result<String, Problem> {
    if text.0.trim().is_empty() || text.0.chars().nth(MAX_NAME).is_some() {
        let detail = format!("The name of the {of} is empty or longer than {MAX_NAME} characters.");
        return Err(Problem::unprocessable("bad_name", detail));
    }
    Ok(text.0)
}

fn model(text: Text) -> Result<ModelRef, Problem> {
    let text = name(text, "model")?;
    text.parse().map_err(|_| {
        let detail = format!("A model is named provider/model; this is {text:?}.");
        Problem::unprocessable("bad_name", detail)
    })
}

/// What the current part of a form asks.
async fn turn_of(form: &mut Multipart, max_body: usize) -> Result<NewTurn, Problem> {
    let mut json = Vec::new();
    while let Some(chunk) = form.chunk().await? {
        if json.len() + chunk.len() > max_body {
            let detail = "The field \"turn\" is larger than this application takes.";
            return Err(Problem::too_large("body_too_large", detail));
        }
        json.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&json).map_err(|error| unfit("The field \"turn\"", &error))
}

impl From<MultipartError> for Problem {
    fn from(error: MultipartError) -> Self {
        match error {
            MultipartError::Cut => Self::unreadable("cut_off", "The form was cut off on its way."),
            MultipartError::Malformed(how) => malformed(how),
            MultipartError::TooMuch => {
                Self::too_large("body_too_large", "The form is larger than one may be.")
            }
        }
    }
}

fn malformed(how: &str) -> Problem {
    let detail = format!("The form is not built as it should be: {how}.");
    Problem::unreadable("bad_form", detail)
}
