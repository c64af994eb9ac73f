//! A tower layer that verifies each request, over `http` types and any body.
//!
//! [`KeyLayer`] takes the token from the request's headers, verifies it, and puts an
//! [`Authenticated`] into the request's extensions. It answers a rejected request itself. A
//! [`Guard`] behind it requires permissions, or keeps callers that may only read from writing.
//!
//! ```
//! # use std::sync::Arc;
//! # use keyhasp::backend::Memory;
//! # use keyhasp::integrations::tower::{Authenticated, KeyLayer};
//! # use keyhasp::{Catalogue, Prefix, Store, Verifier};
//! # let catalogue = Catalogue::builder().read("links:read").write("links:write").build()?;
//! # let store = Store::builder(catalogue, [Prefix::new("acme")?]).open(Memory::new())?;
//! # let verifier = Verifier::new(Arc::new(store));
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, service_fn};
//!
//! let keys = KeyLayer::new(verifier);
//! let service = ServiceBuilder::new()
//!     .layer(keys.clone())
//!     .layer(keys.require(["links:write"])?)
//!     .service(service_fn(async |request: Request<String>| {
//!         let answer = match Authenticated::of(request.extensions()) {
//!             Ok(caller) => Response::new(format!("made for {}", caller.owner())),
//!             Err(rejection) => rejection.into_response(),
//!         };
//!         Ok::<_, std::convert::Infallible>(answer)
//!     }));
//! # let _ = |request| tower::ServiceExt::oneshot(service, request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod authenticated;
mod body;
mod future;
mod guard;
mod layer;
mod rejected;
mod rejection;
mod session;
mod settings;
mod span;

pub use authenticated::Authenticated;
pub use body::{BodyFn, EmptyBody, MakeBody, TextBody};
pub use future::{KeyFuture, ResponseFuture};
pub use guard::{Guard, GuardService};
pub use layer::{KeyLayer, KeyService};
pub use rejection::Rejection;
pub use session::Session;
