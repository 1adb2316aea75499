//! What turns may use up, and what they have used: types and rules, without I/O.
//!
//! A [`Budget`] says what a turn, its conversation and its tenant may use, each as an [`Allowance`] of US dollars, tokens
//! and seconds. The store keeps a ledger of what was used ([`store::Ledger`](crate::store::Ledger)), one row for each turn,
//! which outlives the turn's conversation. A running turn *reserves* what it may use next, so that turns which run at the
//! same time, on whatever machines, do not run over together: each can overrun by one step of the model, since what a step
//! costs is known only behind it.
//!
//! Who may use what is said by the application: [`Budgets`](crate::budgets::Budgets), given to
//! [`HostBuilder::budgets`](crate::HostBuilder::budgets).

mod allowance;
mod dollars;
mod grant;
mod period;
mod spent;

pub use allowance::{Allowance, Amount, Budget};
pub use dollars::{Dollars, NotAnAmount};
pub use grant::{OverBudget, Scope};
pub use period::Period;
pub use spent::{Spending, Spent};
