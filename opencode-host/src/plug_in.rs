//! Calling code that a host plugs in: products, hooks, transforms, observers.
//!
//! Such code may panic, wait for ever, or block its thread. It runs on a thread of its own, for a limited time, so
//! that none of this reaches the turn that it was called for.

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};
use tokio::time::timeout;

/// Why a hook, or other code that a host plugs in, failed.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// How much longer than its limit a call may take to notice the limit, before it is left behind.
const GRACE: Duration = Duration::from_millis(500);

/// Why a call of plugged-in code came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlugInError {
    /// It panicked. What it said is for the reporter, not for the person whose turn it was.
    #[error("{what} panicked")]
    Panicked {
        what: &'static str,
        #[source]
        panic: Panic,
    },
    /// It did not return in time.
    #[error("{what} did not return within {} s", limit.as_secs_f64())]
    TimedOut { what: &'static str, limit: Duration },
    /// It says so itself.
    #[error(transparent)]
    Failed(HookError),
    /// No threads could be had for such code.
    #[error("{what} was not called: {error}")]
    NotCalled {
        what: &'static str,
        error: &'static io::Error,
    },
}

/// What a panic says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Panic(String);

/// The threads for plugged-in code, kept for a while when a call is over, and 512 at most, as is Tokio's default: so many
/// calls may block for ever. Those of the host's own runtime will not do: one that never returns would be missing there,
/// and would hold up the runtime's end.
static THREADS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    runtime::Builder::new_current_thread()
        .thread_name("plug-in")
        .build()
});

/// Calls plugged-in code and waits for it, for `limit` at most. A call that blocks its thread for longer is left
/// behind with its thread.
pub(crate) async fn call<T, F>(
    what: &'static str,
    limit: Duration,
    code: impl FnOnce() -> F + Send + 'static,
) -> Result<T, PlugInError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, HookError>>,
{
    let threads = match &*THREADS {
        Ok(threads) => threads,
        Err(error) => return Err(PlugInError::NotCalled { what, error }),
    };
    let runtime = Handle::current();
    let mut called = threads.spawn_blocking(move || {
        let calling = || runtime.block_on(async { timeout(limit, code()).await });
        match std::panic::catch_unwind(AssertUnwindSafe(calling)) {
            Ok(Ok(returned)) => returned.map_err(PlugInError::Failed),
            Ok(Err(_)) => Err(PlugInError::TimedOut { what, limit }),
            Err(panic) => Err(PlugInError::Panicked {
                what,
                panic: Panic::of(&*panic),
            }),
        }
    });
    match timeout(limit + GRACE, &mut called).await {
        Ok(Ok(called)) => called,
        Ok(Err(_)) | Err(_) => {
            // Where every thread is blocked it was not called yet: nor is it later.
            called.abort();
            Err(PlugInError::TimedOut { what, limit })
        }
    }
}

impl Panic {
    pub(crate) fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "it did not say why".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For code that comes to an end, however busy the machine is.
    const PATIENT: Duration = Duration::from_secs(60);
    /// For code that never does.
    const SHORT: Duration = Duration::from_millis(50);

    async fn called<F>(
        limit: Duration,
        code: impl FnOnce() -> F + Send + 'static,
    ) -> Result<u8, PlugInError>
    where
        F: Future<Output = Result<u8, HookError>>,
    {
        call("Product::agent", limit, code).await
    }

    fn told(error: &PlugInError) -> String {
        let cause = std::error::Error::source(error).unwrap();
        format!("{error}: {cause}")
    }

    #[tokio::test]
    async fn what_it_returns_is_returned() {
        assert_eq!(called(PATIENT, async || Ok(7)).await.unwrap(), 7);
        let error = called(PATIENT, async || Err("no disk".into()))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "no disk");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_says_what_it_said() {
        let early = || -> std::future::Ready<Result<u8, HookError>> { panic!("bad {}", 1) };
        let error = called(PATIENT, early).await.unwrap_err();
        assert_eq!(told(&error), "Product::agent panicked: bad 1");
        let late = async || {
            tokio::task::yield_now().await;
            panic!("bad")
        };
        let error = called(PATIENT, late).await.unwrap_err();
        assert_eq!(told(&error), "Product::agent panicked: bad");
    }

    #[tokio::test]
    async fn what_waits_for_ever_or_blocks_its_thread_is_left_behind() {
        let error = called(SHORT, std::future::pending).await.unwrap_err();
        let told = "Product::agent did not return within 0.05 s";
        assert_eq!(error.to_string(), told);
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let blocks = move || {
            let _ = held.recv();
            std::future::ready(Ok(1))
        };
        let error = called(SHORT, blocks).await.unwrap_err();
        assert_eq!(error.to_string(), told);
        drop(hold);
    }
}
