//! The code of `docs/recipes.md`, a file each. A test holds the page to it.

pub mod actix;
pub mod basic;
pub mod cors;
pub mod grpc;
pub mod openapi;
pub mod poem;
pub mod sender;
pub mod strangers;
pub mod websocket;
