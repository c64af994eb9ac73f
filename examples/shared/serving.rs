//! Serving, until somebody says stop.

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

/// How long a request may take that was under way when the service was told to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address at which a service can be asked, from now on; it answers once it is served.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    url: String,
}

impl Door {
    /// Listens at an address; port 0 is any that is free.
    pub(crate) async fn open(address: &str) -> Outcome<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("--listen {address}: {error}"))?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self { listener, url })
    }

    /// `http://` and the address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Prints the first line, then serves until the process is told to stop, answers what has been
    /// asked by then, and closes the store. Whoever hasn't asked to the end is not waited for.
    pub(crate) async fn serve(
        self,
        site: Router,
        store: Arc<dyn KeyStore>,
        first_line: Value,
    ) -> Outcome<()> {
        // Whoever has read the line may say stop.
        let stop = told_to_stop()?;
        let mut out = std::io::stdout();
        writeln!(out, "{first_line}")?;
        out.flush()?;
        let (told, stopping) = oneshot::channel();
        let site = site.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(self.listener, site).with_graceful_shutdown(async {
            stop.await;
            let _ = told.send(());
        });
        let overdue = async {
            let _ = stopping.await;
            sleep(PATIENCE).await;
        };
        tokio::select! { served = serving.into_future() => served?, () = overdue => {} }
        // Flushes, and says what failed.
        Ok(blocking(move || store.close()).await?)
    }
}

/// Resolves at Ctrl-C or, where there is one, a signal to terminate; both are heard from now on.
#[cfg(unix)]
fn told_to_stop() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}

#[cfg(not(unix))]
fn told_to_stop() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
