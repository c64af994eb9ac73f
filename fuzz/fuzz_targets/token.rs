#![no_main]

use std::sync::LazyLock;

use keyhasp_fuzz::targets::token;

/// Whether the target has the injected bug.
static INJECTED: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("KEYHASP_FUZZ_INJECTED").is_some());

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if *INJECTED { token::injected(data) } else { token::run(data) }
});
