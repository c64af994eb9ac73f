//! The layers, as data.

/// One row: the number of a layer and modules on it. A module is a file `src/NAME.rs` or a folder
/// `src/NAME/`; a file that isn't here has no place, which is a fault.
pub(crate) struct Row {
    pub(crate) layer: u8,
    pub(crate) modules: &'static [&'static str],
}

/// Lowest first. A file imports from rows above its own, and from its own module; modules that
/// share a row don't import each other.
pub(crate) const ROWS: &[Row] = &[
    // What refuses bad input stands beneath the rest of its layer: all of it uses this.
    Row { layer: 0, modules: &["invalid"] },
    Row { layer: 0, modules: &["clock", "secret", "text"] },
    Row { layer: 1, modules: &["id"] },
    Row { layer: 2, modules: &["authority", "permission"] },
    Row { layer: 3, modules: &["key"] },
    Row { layer: 4, modules: &["event", "verified", "token"] },
    Row { layer: 5, modules: &["backend"] },
    Row { layer: 6, modules: &["store"] },
    Row { layer: 7, modules: &["testing"] },
    Row { layer: 8, modules: &["integrations"] },
];

/// The layer of `src/lib.rs`, which may name anything and holds no logic.
pub(crate) const ROOT_LAYER: u8 = 9;

/// What tests inside `src` may use from any layer.
pub(crate) const FOR_TESTS: &str = "testing";

/// Lower layers that a module doesn't import all the same: code that stores never sees a plaintext
/// token.
pub(crate) const BARRED: &[(&str, &[&str])] = &[("backend", &["token", "verified", "secret"])];

/// Parts of a folder that never import each other, and that the folder's other files don't import;
/// only its `mod.rs` names them.
pub(crate) const ISOLATED: &[(&str, &[&str])] = &[("backend", &["memory", "sled", "sqlite"])];

/// Where a module stands.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The index of its row.
    pub(crate) row: usize,
    pub(crate) layer: u8,
}

/// The place of a top-level module, if it has one.
pub(crate) fn place(module: &str) -> Option<Place> {
    let row = ROWS.iter().position(|row| row.modules.contains(&module))?;
    Some(Place { row, layer: ROWS[row].layer })
}

/// What `module` doesn't import although it lies lower.
pub(crate) fn barred(module: &str) -> &'static [&'static str] {
    BARRED.iter().find(|(name, _)| *name == module).map_or(&[], |(_, barred)| barred)
}

/// The isolated parts of `module`.
pub(crate) fn isolated(module: &str) -> &'static [&'static str] {
    ISOLATED.iter().find(|(name, _)| *name == module).map_or(&[], |(_, parts)| parts)
}

#[test]
fn each_module_stands_once_and_layers_rise() {
    let mut seen = Vec::new();
    for module in ROWS.iter().flat_map(|row| row.modules) {
        assert!(!seen.contains(module), "{module} stands twice");
        seen.push(*module);
    }
    assert!(ROWS.windows(2).all(|pair| pair[0].layer <= pair[1].layer));
    assert!(ROWS.iter().all(|row| row.layer < ROOT_LAYER));
    let named = BARRED.iter().flat_map(|(module, barred)| barred.iter().chain([module]));
    assert!(named.chain(ISOLATED.iter().map(|(m, _)| m)).all(|m| seen.contains(m)));
    assert!(seen.contains(&FOR_TESTS));
}
