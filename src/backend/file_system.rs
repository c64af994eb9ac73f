//! The file system under a database.

use std::path::Path;

/// The option that opens a database on a network file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Network {
    /// Such a database is refused. The default.
    #[default]
    Refused,
    /// Opens it, at the caller's own risk.
    Allowed,
}

/// The numbers by which Linux names network file systems (`statfs`), and their names.
///
/// FUSE has one number for all that is made with it, local file systems too.
#[cfg(target_os = "linux")]
const NETWORK: [(u32, &str); 9] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
];

/// Refuses a place on a network file system, and returns why. Where the system can't tell, nothing
/// is refused.
pub(super) fn check(path: &Path, network: Network) -> Result<(), String> {
    match network_name(path) {
        Some(name) if network == Network::Refused => Err(format!(
            "{name} at {}; to open it all the same, set `allow_network_file_system`",
            path.display()
        )),
        _ => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn network_name(path: &Path) -> Option<&'static str> {
    let number = number_of(path)?;
    NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn network_name(_path: &Path) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
fn number_of(path: &Path) -> Option<u32> {
    #[cfg(test)]
    if let Some(number) = injected::NUMBER.get() {
        return Some(number);
    }
    // All of these numbers have 32 bits; some systems show them with a sign.
    rustix::fs::statfs(path).ok().map(|status| status.f_type as u32)
}

/// The answers of `statfs` in a test.
#[cfg(all(test, target_os = "linux"))]
pub(super) mod injected {
    use std::cell::Cell;

    thread_local! {
        pub(super) static NUMBER: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Does `work` while every file system of this thread has this number.
    pub(in crate::backend) fn with<T>(number: u32, work: impl FnOnce() -> T) -> T {
        NUMBER.set(Some(number));
        let done = work();
        NUMBER.set(None);
        done
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_apart() {
        let name = |number| injected::with(number, || network_name(Path::new("/")));
        // NFS, the three of Windows' shares, 9p, AFS and the kernel's own, Ceph, Lustre.
        let network = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x5346_414f];
        let others = [0x6b41_4653, 0x00c3_6400, 0x0bd0_0bd0];
        assert!(network.into_iter().chain(others).all(|number| name(number).is_some()));
        // ext4, XFS, Btrfs, tmpfs, overlay, ZFS, and FUSE, which may have anything behind it.
        let local = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1];
        assert!(local.into_iter().chain([0x6573_5546]).all(|number| name(number).is_none()));
    }

    #[test]
    fn a_place_that_is_none_is_not_refused() {
        assert_eq!(check(Path::new("/no/such/place"), Network::Refused), Ok(()));
        // The real answer, of a file system that is never a network's.
        assert_eq!(number_of(Path::new("/proc")), Some(0x9fa0));
        assert_eq!(check(Path::new("/proc"), Network::Refused), Ok(()));
    }
}
