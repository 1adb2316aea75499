//! `/openapi.json`: the routes as an OpenAPI 3.1 document, made of the routes themselves.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{
    Content, Info, License, OpenApi, Paths, Ref, RefOr, Response as Answer, ResponseBuilder,
    Schema, Server,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::authorize::Scope;
use crate::bodies::TurnEvents;
use crate::problem::{PROBLEM_JSON, ProblemDocument};
use crate::settings::Settings;

/// Returns this description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "description",
    operation_id = "show_description",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
pub(crate) async fn show(State(settings): State<Settings>, _: Scope) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, settings.description).into_response()
}

/// What the description says beside the routes.
pub(crate) fn base() -> OpenApi {
    let mut info = Info::new("opencode-axum", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Conversations with an agent: prompts, answers as they come, questions, files. Times are milliseconds since \
         1970 (UTC). Every answer that is no success is a problem document (RFC 9457)."
            .to_owned(),
    );
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    let mut base = OpenApi::new(info, Paths::new());
    // Where this document is.
    base.servers = Some(vec![Server::new(".")]);
    base
}

/// The description of routes, with what is true of every one: whatever else they answer is a problem.
pub(crate) fn finished(mut description: OpenApi) -> OpenApi {
    for item in description.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
                    never_null(&mut schema.schema_type);
                }
            }
            let responses = &mut operation.responses.responses;
            responses.insert("default".to_owned(), RefOr::T(problem()));
        }
    }
    let components = description.components.get_or_insert_default();
    // What no route's body says in whole: problems, and what events hold.
    let mut schemas = Vec::new();
    TurnEvents::schemas(&mut schemas);
    schemas.push((TurnEvents::name().into_owned(), TurnEvents::schema()));
    schemas.push((
        ProblemDocument::name().into_owned(),
        ProblemDocument::schema(),
    ));
    components.schemas.extend(schemas);
    description
}

/// A parameter that may be absent is never null.
fn never_null(schema_type: &mut SchemaType) {
    if let SchemaType::Array(types) = schema_type {
        types.retain(|known| *known != Type::Null);
        if let [only] = &types[..] {
            *schema_type = SchemaType::Type(only.clone());
        }
    }
}

fn problem() -> Answer {
    let schema = Ref::from_schema_name(ProblemDocument::name());
    ResponseBuilder::new()
        .description("A problem.")
        .content(PROBLEM_JSON, Content::new(Some(schema)))
        .build()
}
