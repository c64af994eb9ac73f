//! Links keyhasp with the least version of each of its dependencies.

pub use keyhasp::Store;
