//! Holds `docs/recipes.md` to the code that compiles.

use std::fs;
use std::path::Path;

#[test]
fn each_recipe_on_the_page_is_a_file_here() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../../docs/recipes.md")).unwrap();
    let mut shown: Vec<&str> = page
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("an end of the block").0)
        .collect();
    for entry in fs::read_dir(here.join("src")).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("lib.rs") {
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        let place = shown.iter().position(|block| *block == code);
        let place =
            place.unwrap_or_else(|| panic!("{} isn't on the page as it is", path.display()));
        shown.remove(place);
    }
    assert!(shown.is_empty(), "no file has this: {}", shown[0]);
}
