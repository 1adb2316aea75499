//! Calls about what the agent asks: questions and permissions, listed and answered.

use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::send::{Call, path_segment};
use crate::error::Error;
use crate::id::{PermissionId, QuestionId};
use crate::wire::{PermissionReply, PermissionRequest, QuestionRequest};

impl Client {
    /// The questions that wait: `GET /question`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn questions(&self) -> Result<Vec<QuestionRequest>, Error> {
        self.json(Call::new(Method::GET, "/question")).await
    }

    /// Answers a question: the chosen labels, or free words, for each of its
    /// questions in order. `POST /question/:id/reply`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with 404 when nobody asks that any more; see [`Error`].
    pub async fn answer_question(
        &self,
        question: &QuestionId,
        answers: &[Vec<String>],
    ) -> Result<(), Error> {
        let path = format!("/question/{}/reply", path_segment(question.as_str()));
        self.send(Call::new(Method::POST, path).body(json!({ "answers": answers })))
            .await
            .map(drop)
    }

    /// Declines a question: `POST /question/:id/reject`. The turn then ends.
    ///
    /// # Errors
    /// As for [`Client::answer_question`].
    pub async fn reject_question(&self, question: &QuestionId) -> Result<(), Error> {
        let path = format!("/question/{}/reject", path_segment(question.as_str()));
        self.send(Call::new(Method::POST, path).body(json!({})))
            .await
            .map(drop)
    }

    /// The permissions that wait: `GET /permission`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn permissions(&self) -> Result<Vec<PermissionRequest>, Error> {
        self.json(Call::new(Method::GET, "/permission")).await
    }

    /// Answers a permission request: `POST /permission/:id/reply`. `message`
    /// tells the agent why, when it is rejected.
    ///
    /// # Errors
    /// As for [`Client::answer_question`].
    pub async fn reply_permission(
        &self,
        permission: &PermissionId,
        reply: PermissionReply,
        message: Option<&str>,
    ) -> Result<(), Error> {
        let path = format!("/permission/{}/reply", path_segment(permission.as_str()));
        let mut body = json!({ "reply": reply });
        if let Some(message) = message {
            body["message"] = json!(message);
        }
        self.send(Call::new(Method::POST, path).body(body))
            .await
            .map(drop)
    }
}
