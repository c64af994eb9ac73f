//! Serving, until a signal stops the process.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use keyhasp::KeyStore;
use keyhasp::integrations::tokio::blocking;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Outcome;

/// The time that requests in progress have after the signal to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listening address. Clients can connect at once, and get answers once it is served.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    url: String,
}

impl Door {
    /// Listens at an address. Port 0 chooses a free one.
    pub(crate) async fn open(address: &str) -> Outcome<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("--listen {address}: {error}"))?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self { listener, url })
    }

    /// Returns `http://` and the address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Prints the first line, then serves until a signal stops the process. Then it answers the
    /// requests in progress, for at most 10 seconds, and closes the store.
    pub(crate) async fn serve(
        self,
        site: Router,
        store: Arc<dyn KeyStore>,
        first_line: Value,
    ) -> Outcome<()> {
        // The handlers stand before the line is printed: its reader may send a signal at once.
        self.serve_until(stop_signal()?, site, store, first_line).await
    }

    /// Serves as [`serve`](Self::serve) does, until this future is ready.
    pub(crate) async fn serve_until(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
        site: Router,
        store: Arc<dyn KeyStore>,
        first_line: Value,
    ) -> Outcome<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{first_line}")?;
        out.flush()?;
        let (stopped, stopping) = oneshot::channel();
        let site = site.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(self.listener, site).with_graceful_shutdown(async {
            stop.await;
            let _ = stopped.send(());
        });
        let overdue = async {
            let _ = stopping.await;
            sleep(PATIENCE).await;
        };
        tokio::select! { served = serving.into_future() => served?, () = overdue => {} }
        // Closing flushes, and returns what failed.
        Ok(blocking(move || store.close()).await?)
    }
}

/// Returns a future that resolves at Ctrl-C, or on Unix also at a signal to terminate. Signals
/// count from this call on.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
