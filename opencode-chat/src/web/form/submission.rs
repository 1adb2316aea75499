//! A prompt on its way in: a form's fields, then the files that come with it.
//!
//! Files are the last part of a form, so that everything else is known, and found
//! good, before the first of their bytes is kept. They go through as they come.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use opencode_axum::file::is_plain_type;
use opencode_axum::multipart::{Multipart, MultipartError, Part};
use opencode_host::id::ConversationId;
use opencode_host::uploads::{MAX_FILES, Uploads};
use tokio::io::AsyncReadExt as _;

use super::fields::Fields;
use super::refused::{cut, refused};
use crate::web::app::{App, MAX_BODY, Shared};
use crate::web::problem::Problem;
use crate::web::visitor::Visitor;

/// What a field takes beside its name and its value, in bytes.
const FIELD: usize = 64;

/// The most bytes of a form: its fields, its files, and what stands between them.
fn largest_form(app: &App) -> u64 {
    let files = app.max_upload.saturating_mul(MAX_FILES as u64);
    files.saturating_add(2 * MAX_BODY as u64)
}

/// A form with a prompt.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) fields: Fields,
    files: Option<Files>,
}

/// Files that are still on their way.
#[derive(Debug)]
struct Files {
    form: Multipart,
    /// The file that comes next.
    next: Part,
}

impl FromRequest<Shared> for Submission {
    type Rejection = Problem;

    /// Reads the fields. The form may be one without files, of any kind.
    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let visitor = request.extensions().get::<Visitor>();
        let app = &shared.of(visitor.ok_or_else(Problem::signed_out)?);
        tokio::select! {
            submission = Self::read(request, app) => submission,
            () = app.shutdown.cancelled() => Err(stopped()),
        }
    }
}

impl Submission {
    async fn read(request: Request, app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(axum::http::header::CONTENT_TYPE);
        let is_multipart = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
        if !is_multipart {
            let request = Request::from_parts(parts, body);
            let fields = Fields::from_request(request, app).await?;
            return Ok(Self {
                fields,
                files: None,
            });
        }
        let form = Multipart::new(&parts.headers, body, largest_form(app));
        let mut form = form.ok_or_else(|| unreadable(&MultipartError::Malformed("no boundary")))?;
        let mut fields = Vec::new();
        let mut left = MAX_BODY;
        while let Some(part) = form.next_part().await.map_err(|error| unreadable(&error))? {
            if part.file_name.is_some() {
                return Ok(Self {
                    fields: Fields::new(fields),
                    files: Some(Files { form, next: part }),
                });
            }
            // What an empty field takes too.
            left = left
                .checked_sub(part.name.len() + FIELD)
                .ok_or_else(Problem::too_much)?;
            let mut value = Vec::new();
            while let Some(chunk) = form.chunk().await.map_err(|error| unreadable(&error))? {
                left = left
                    .checked_sub(chunk.len())
                    .ok_or_else(Problem::too_much)?;
                value.extend_from_slice(&chunk);
            }
            fields.push((part.name, String::from_utf8_lossy(&value).into_owned()));
        }
        Ok(Self {
            fields: Fields::new(fields),
            files: None,
        })
    }

    /// Whether a file comes. A form without one has one without a name.
    pub(crate) fn has_files(&self) -> bool {
        let next = self.files.as_ref().map(|files| &files.next);
        next.is_some_and(|part| part.file_name.as_ref().is_some_and(|name| !name.is_empty()))
    }

    /// Takes the files for a conversation, or for one that is yet to be opened; `None` when none came. After a refusal the rest of the form is passed over:
    /// a browser reads no answer before it has sent all.
    pub(crate) async fn uploads(
        self,
        app: &App,
        conversation: Option<ConversationId>,
    ) -> Result<Option<Uploads>, Problem> {
        let Some(mut files) = self.files else {
            return Ok(None);
        };
        let taken = tokio::select! {
            taken = files.take(app, conversation) => taken,
            // An application that stops waits for nobody's upload.
            () = app.shutdown.cancelled() => return Err(stopped()),
        };
        if taken.is_err() {
            files.pass_over(app).await;
        }
        taken
    }

    /// Passes over the files of a form that is refused for something else.
    pub(crate) async fn pass_over(self, app: &App) {
        if let Some(mut files) = self.files {
            files.pass_over(app).await;
        }
    }
}

impl Files {
    async fn pass_over(&mut self, app: &App) {
        tokio::select! {
            () = self.form.pass_over() => {}
            () = app.shutdown.cancelled() => {}
        }
    }

    async fn take(
        &mut self,
        app: &App,
        conversation: Option<ConversationId>,
    ) -> Result<Option<Uploads>, Problem> {
        let mut uploads = None;
        let mut number = 0;
        loop {
            let name = self.next.file_name.take().unwrap_or_default();
            let first = self.form.chunk().await.map_err(|error| cut(&error))?;
            // A form without a file has one without a name and a byte.
            if first.is_some() || !name.is_empty() {
                let uploads = match &mut uploads {
                    Some(uploads) => uploads,
                    none => none.insert(begin(app, conversation).await?),
                };
                let first = first.unwrap_or_default();
                let content = first.chain(self.form.content());
                let kind = self
                    .next
                    .content_type
                    .take()
                    .filter(|kind| is_plain_type(kind));
                let added = uploads.add(&name, kind.as_deref(), content).await;
                added.map_err(|error| refused(error, &name).about_file(number))?;
                number += 1;
            }
            match self
                .form
                .next_part()
                .await
                .map_err(|error| unreadable(&error))?
            {
                None => return Ok(uploads),
                Some(part) if part.file_name.is_some() => self.next = part,
                Some(_) => {
                    return Err(unreadable(&MultipartError::Malformed(
                        "a field behind a file",
                    )));
                }
            }
        }
    }
}

async fn begin(app: &App, conversation: Option<ConversationId>) -> Result<Uploads, Problem> {
    let begun = match conversation {
        Some(conversation) => app.host.uploads(conversation).await,
        None => app.host.uploads_of_new_conversation(),
    };
    begun.map_err(|error| refused(error, "The first file"))
}

fn stopped() -> Problem {
    let text = "The application is being stopped. Send it again when it is back.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Nothing was sent", text)
}

fn unreadable(error: &MultipartError) -> Problem {
    match error {
        MultipartError::Cut => cut(error),
        MultipartError::TooMuch => Problem::too_much(),
        _ => {
            tracing::debug!(%error, "form");
            Problem::unreadable_form(StatusCode::BAD_REQUEST)
        }
    }
}
