//! Nothing of its own: the bench `named` measures single calls.
