#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyhasp_fuzz::targets::sled_records::run(data));
