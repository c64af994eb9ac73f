//! A call on the pool of blocking threads.

use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

use crate::store::{Error, Unavailable};

/// Runs a call of a store on the pool of blocking threads.
///
/// ```
/// # use std::sync::Arc;
/// # async fn f(store: Arc<dyn keyhasp::KeyStore>) -> Result<(), keyhasp::Error> {
/// keyhasp::integrations::tokio::blocking(move || store.close()).await
/// # }
/// ```
///
/// # Errors
/// The call's own; `Unavailable` if the runtime was shut down before the call began.
///
/// # Panics
/// Outside a tokio runtime, and if the call panics.
pub async fn blocking<T, F>(call: F) -> Result<T, Error>
where
    F: FnOnce() -> Result<T, Error> + Send + 'static,
    T: Send + 'static,
{
    // What the call traces belongs to the caller's span.
    #[cfg(feature = "tracing")]
    let call = {
        let span = tracing::Span::current();
        move || span.in_scope(call)
    };
    match spawn_blocking(call).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Tokio never cancels a call that has begun, so this one did nothing.
            Err(_) => Err(Unavailable::Closed.into()),
        },
    }
}
