//! What the items of a file say about modules: whether it holds logic, which of its modules are
//! tests, and which names it has from which child.

use syn::spanned::Spanned;
use syn::{Attribute, File, Item, Meta, UseTree};

/// The lines of items other than `mod name;` and `use`.
pub(crate) fn logic(file: &File) -> Vec<usize> {
    let declares = |item: &Item| match item {
        Item::Mod(module) => module.content.is_none(),
        Item::Use(_) => true,
        _ => false,
    };
    file.items.iter().filter(|item| !declares(item)).map(|item| item.span().start().line).collect()
}

/// The names of modules in files of their own that are declared as tests.
pub(crate) fn test_modules(file: &File) -> Vec<String> {
    file.items
        .iter()
        .filter_map(|item| match item {
            Item::Mod(module) if module.attrs.iter().any(is_cfg_test) => {
                Some(module.ident.to_string())
            }
            _ => None,
        })
        .collect()
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::List(list) => {
            list.path.is_ident("cfg") && crate::paths::requires_test(list.tokens.clone())
        }
        _ => false,
    }
}

/// A name that a `mod.rs` has from one of its children. Without `pub` too: its other children see
/// the name all the same.
pub(crate) struct FromChild {
    pub(crate) child: String,
    /// `None` for a glob.
    pub(crate) name: Option<String>,
    pub(crate) line: usize,
}

/// The names that `folder`'s `mod.rs` has from its children.
pub(crate) fn from_children(folder: &str, file: &File) -> Vec<FromChild> {
    let mut found = Vec::new();
    for item in &file.items {
        if let Item::Use(import) = item {
            collect(folder, &import.tree, None, &mut found);
        }
    }
    found
}

fn collect(folder: &str, tree: &UseTree, child: Option<&str>, found: &mut Vec<FromChild>) {
    let name = match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            // `crate::folder::child` and `self::child` are the child too.
            let leads_here = ["crate", "self", folder].contains(&first.as_str());
            let child = child.or((!leads_here).then_some(&first));
            return collect(folder, &path.tree, child, found);
        }
        UseTree::Group(group) => {
            return group.items.iter().for_each(|tree| collect(folder, tree, child, found));
        }
        UseTree::Name(name) => Some(name.ident.to_string()),
        UseTree::Rename(rename) => Some(rename.rename.to_string()),
        UseTree::Glob(_) => None,
    };
    if let Some(child) = child {
        let line = tree.span().start().line;
        found.push(FromChild { child: child.to_owned(), name, line });
    }
}
