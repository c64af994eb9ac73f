#![no_main]

use std::sync::LazyLock;

use keyhasp_fuzz::targets::token;

/// Whether the fuzzer is to be seen finding something.
static PLANTED: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("KEYHASP_FUZZ_PLANTED").is_some());

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if *PLANTED { token::planted(data) } else { token::run(data) }
});
