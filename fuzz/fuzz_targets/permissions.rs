#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyhasp_fuzz::targets::permissions::run(data));
