//! The pages of `docs/`, the threat model and the changelog, as they stand in the package.
//!
//! They are modules only in the documentation. Pages link by reference. Each page defines its references as
//! files; `guide_links.md` defines them as modules, and is included first, since the first definition
//! counts.
//!
//! A page's code is tested with it if the features are on that it needs. That of the recipes needs other
//! crates, and is tested in `harness/first-day`.

macro_rules! pages {
    ($($name:ident = $path:literal $(if $gate:meta)?;)*) => {$(
        #[doc = include_str!("guide_links.md")]
        #[cfg_attr(
            any(not(doctest), all($($gate)?)),
            doc = include_str!(concat!("../", $path)),
        )]
        pub mod $name {}
    )*
    #[cfg(test)]
    const PAGES: &[&str] = &[$($path),*];
    };
}

pages! {
    changelog = "CHANGELOG.md";
    constant_time = "docs/constant-time.md";
    design = "docs/design.md";
    for_key_holders = "docs/for-key-holders.md";
    glossary = "docs/glossary.md";
    http = "docs/http.md" if feature = "axum";
    load = "docs/load.md";
    metrics = "docs/metrics.md" if feature = "metrics";
    operations = "docs/operations.md" if feature = "sqlite";
    recipes = "docs/recipes.md" if any();
    reliability = "docs/reliability.md";
    security = "SECURITY.md";
    stability = "docs/stability.md";
    storage_format = "docs/storage-format.md";
    three_apis = "docs/three-apis.md";
    writing_a_backend = "docs/writing-a-backend.md" if feature = "testing";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::PAGES;

    fn read(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Returns the references that a text defines, each with its target.
    fn definitions(text: &str) -> impl Iterator<Item = (&str, &str)> {
        text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
    }

    #[test]
    fn each_file_of_the_pages_is_a_module() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let files = fs::read_dir(docs).unwrap().map(|file| file.unwrap().file_name());
        let files = files.map(|name| format!("docs/{}", name.to_string_lossy()));
        let files: BTreeSet<String> = files.filter(|name| name.ends_with(".md")).collect();
        let pages = PAGES.iter().filter(|page| page.starts_with("docs/"));
        assert_eq!(files, pages.map(|page| (*page).to_owned()).collect());
    }

    /// A link to a file, which the documentation doesn't have, would lead nowhere there.
    #[test]
    fn pages_name_each_other_by_references() {
        let links = read("src/guide_links.md");
        let known: BTreeSet<&str> = definitions(&links).map(|(label, _)| label).collect();
        for page in PAGES.iter().chain(&["README.md"]) {
            let text = read(page);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            let is_elsewhere = |target: &str| target.starts_with("https://");
            for (label, target) in definitions(&text).filter(|(_, target)| !is_elsewhere(target)) {
                assert!(known.contains(label), "{page}: [{label}] isn't in src/guide_links.md");
                let (file, place) = target.split_once('#').unwrap_or((target, ""));
                let linked = folder.parent().unwrap().join(file);
                let linked =
                    fs::read_to_string(linked).unwrap_or_else(|_| panic!("{page}: {target}"));
                assert!(has_heading(&linked, place), "{page}: {target} has no such heading");
            }
            for (at, _) in text.match_indices("](") {
                let target = &text[at + 2..];
                let is_right = is_elsewhere(target) || target.starts_with('#');
                let line = text[..at].matches('\n').count() + 1;
                // In a block of code these characters may be a call.
                let is_link = target.split(')').next().is_some_and(|to| to.contains(".md"));
                assert!(
                    is_right || !is_link,
                    "{page}:{line}: a link to a file that is no reference"
                );
            }
        }
    }

    /// Returns whether a page has a heading of this anchor. Every page has its beginning.
    fn has_heading(page: &str, anchor: &str) -> bool {
        let headings = page.lines().filter(|line| line.starts_with('#'));
        let mut anchors = headings.map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
        });
        anchor.is_empty() || anchors.any(|of_heading| of_heading == anchor)
    }
}
