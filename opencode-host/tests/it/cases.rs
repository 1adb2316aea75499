//! Cases of one test, for what shares a real server: a start of one costs seconds, and a test is a process.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::{FutureExt as _, StreamExt as _, stream};

/// A case with its name.
pub(crate) type Case<'a> = (&'static str, Pin<Box<dyn Future<Output = ()> + 'a>>);

/// Functions, each called with what they share, as cases with the names of the functions.
macro_rules! cases {
    ($shared:expr; $($case:path),+ $(,)?) => {
        vec![$((stringify!($case), Box::pin($case($shared)) as std::pin::Pin<Box<dyn Future<Output = ()> + '_>>)),+]
    };
}
pub(crate) use cases;

/// Runs cases, so many at a time. All run to their end; then those that failed are named.
pub(crate) async fn all_hold(at_once: usize, cases: Vec<Case<'_>>) {
    let failed = stream::iter(cases)
        .map(|(name, case)| async move {
            let panic = AssertUnwindSafe(case).catch_unwind().await.err()?;
            Some(format!("{name}: {}", told(&*panic)))
        })
        .buffer_unordered(at_once)
        .filter_map(std::future::ready)
        .collect::<Vec<String>>()
        .await;
    assert!(failed.is_empty(), "cases failed:\n{}", failed.join("\n"));
}

fn told(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it did not say why")
}

#[tokio::test]
async fn every_case_runs_and_those_that_fail_are_named() {
    async fn fails(ran: &std::cell::Cell<u32>) {
        ran.set(ran.get() + 1);
        panic!("it is {}", "odd");
    }
    async fn holds(ran: &std::cell::Cell<u32>) {
        ran.set(ran.get() + 1);
    }
    let ran = std::cell::Cell::new(0);
    let running = all_hold(1, cases![&ran; fails, holds, fails]);
    let panic = AssertUnwindSafe(running).catch_unwind().await.unwrap_err();
    assert_eq!(
        told(&*panic),
        "cases failed:\nfails: it is odd\nfails: it is odd"
    );
    assert_eq!(ran.get(), 3);
    all_hold(2, cases![&ran; holds, holds]).await;
}
