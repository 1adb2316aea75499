//! What the caller's tenant has used.

use axum::Json as Answer;

use crate::authorize::Scope;
use crate::bodies::Spending;
use crate::problem::Problem;

/// Shows what was used in the running period, and what may be: "3.20 of 10 dollars this month".
#[utoipa::path(
    get,
    path = "/spending",
    tag = "spending",
    operation_id = "show_spending",
    responses((status = 200, description = "What was used, and what may be.", body = Spending))
)]
pub(crate) async fn show(scope: Scope) -> Result<Answer<Spending>, Problem> {
    Ok(Answer(scope.host.spending().await?.into()))
}
