//! The files under `src` and the modules that they are.

use std::path::Path;
use std::{fs, io};

/// A file: its path from the package's root, with `/`, and its text.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The module that the file is, from the crate's root: none for `src/lib.rs`, `["key"]` for
    /// `src/key/mod.rs`, `["key", "state"]` for `src/key/state.rs`. A file of
    /// another kind is part of its folder: code there may include it.
    pub(crate) fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut names: Vec<String> = path.split('/').map(str::to_owned).collect();
        let last = names.pop().unwrap_or_default();
        match last.strip_suffix(".rs") {
            Some("mod") => {}
            Some("lib") if names.is_empty() => {}
            Some(name) => names.push(name.to_owned()),
            None => {}
        }
        names
    }

    pub(crate) fn is_root(&self) -> bool {
        self.path == "src/lib.rs"
    }

    /// The path of a file in the same folder.
    pub(crate) fn beside(&self, name: &str) -> String {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{name}")
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A file that only declares: `mod.rs`, or the root.
    pub(crate) fn only_declares(&self) -> bool {
        self.is_root() || self.path.ends_with("/mod.rs")
    }
}

/// All files under `src`, in the order of their paths.
pub(crate) fn load(package: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    load_folder(package, "src", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn load_folder(package: &Path, folder: &str, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(package.join(folder))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            load_folder(package, &path, sources)?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            sources.push(Source { path, text });
        }
    }
    Ok(())
}
