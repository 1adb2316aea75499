//! Who asks, and whose rows they see: asked before every route.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use opencode_host::store::Tenant;
use opencode_host::{Host, TenantHost};

use crate::problem::Problem;

/// Says who makes a request: asked before every route, also for addresses that do not exist.
///
/// The tenant is all that is seen through the router: what is another tenant's is 404, like what is not there. What an
/// earlier layer of the application has put into the extensions of the request, such as its session, is in the parts.
///
/// A browser sends cookies also with forms of other sites. Where cookies say who asks, have them `SameSite=Lax` or
/// `Strict`, or check `Origin` in front of the router.
///
/// ```
/// use axum::http::request::Parts;
/// use opencode_axum::{Authorize, Caller, Problem};
///
/// /// What the application's own layer found out.
/// #[derive(Clone)]
/// struct User { account: String, name: String }
///
/// struct Sessions;
///
/// #[async_trait::async_trait]
/// impl Authorize for Sessions {
///     async fn authorize(&self, request: &Parts) -> Result<Caller, Problem> {
///         let user = request.extensions.get::<User>();
///         let user = user.ok_or_else(|| Problem::unauthenticated("Cookie"))?;
///         Ok(Caller::new(user.account.as_str()).named(&user.name))
///     }
/// }
/// ```
#[async_trait]
pub trait Authorize: Send + Sync + 'static {
    /// Says who makes a request, or refuses it.
    ///
    /// # Errors
    /// The answer to a caller who may not make the request: [`Problem::unauthenticated`], [`Problem::forbidden`], or a
    /// problem of the application's own.
    async fn authorize(&self, request: &Parts) -> Result<Caller, Problem>;
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Caller {
    tenant: Tenant,
    name: Option<String>,
    notes: bool,
    instructs: bool,
    schedules: bool,
}

impl Caller {
    /// Somebody who sees this tenant's conversations.
    pub fn new(tenant: impl Into<Tenant>) -> Self {
        Self {
            tenant: tenant.into(),
            name: None,
            notes: false,
            instructs: false,
            schedules: false,
        }
    }

    /// Says who they are: kept with the answers that they give to an agent.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// Lets them write the metadata of conversations and turns. They may not by default, so that an application can
    /// rely on what it has noted there.
    pub fn may_note(self) -> Self {
        Self {
            notes: true,
            ..self
        }
    }

    /// Lets them say with a prompt which agent and model answer it, and give it system instructions, in the place of the
    /// application's too. They may not by default: the application's [`Product`](opencode_host::product::Product) says it
    /// all. What it permits the agent to do holds either way.
    pub fn may_instruct(self) -> Self {
        Self {
            instructs: true,
            ..self
        }
    }

    /// Lets them say the priority of a turn among the tenant's, and the moment before which it does not begin, and have prompts
    /// submitted again and again. They may not by default.
    pub fn may_schedule(self) -> Self {
        Self {
            schedules: true,
            ..self
        }
    }
}

/// What stands before every route.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) host: Host,
    pub(crate) authorize: Arc<dyn Authorize>,
}

/// Asks who makes a request. Routes get the host as that tenant has it, and no other.
pub(crate) async fn ask(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let caller = gate.authorize.authorize(&parts).await?;
    parts.extensions.insert(Scope {
        host: gate.host.of(&caller.tenant),
        caller,
    });
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// The host as the caller's tenant has it.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) host: TenantHost,
    caller: Caller,
}

impl Scope {
    /// Who asks, in the application's words.
    pub(crate) fn name(&self) -> Option<&str> {
        self.caller.name.as_deref()
    }

    /// Refuses who may not write metadata.
    pub(crate) fn check_notes(&self) -> Result<(), Problem> {
        let detail = "This application keeps the metadata itself: leave it out.";
        check(self.caller.notes, detail)
    }

    /// Refuses who may not say by which agent and model a prompt is answered, nor instruct them.
    pub(crate) fn check_instructs(&self) -> Result<(), Problem> {
        let detail = "This application says the agent, the model and the system instructions: leave them out.";
        check(self.caller.instructs, detail)
    }

    /// Refuses who may not say when a turn begins.
    pub(crate) fn check_schedules(&self) -> Result<(), Problem> {
        let detail = "This application says when turns begin: leave priority and not_before out, and schedule nothing.";
        check(self.caller.schedules, detail)
    }
}

fn check(may: bool, otherwise: &str) -> Result<(), Problem> {
    if may {
        Ok(())
    } else {
        Err(Problem::forbidden(otherwise))
    }
}

impl<S: Sync> FromRequestParts<S> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The gate has put it there, or there is no such route.
        let scope = parts.extensions.get::<Self>().cloned();
        scope.ok_or_else(Problem::internal)
    }
}
