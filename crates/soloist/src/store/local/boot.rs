//! Which machine this is, and which of its boots: nothing that was kept before a reboot may be read after.

use std::path::Path;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The name of the folder of this boot: `<machine>-<boot>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BootName {
    machine: String,
    boot: String,
}

impl BootName {
    /// Of this machine, now: it is the same for as long as a process lives.
    pub(super) fn current() -> Result<&'static Self> {
        static CURRENT: OnceLock<BootName> = OnceLock::new();
        match CURRENT.get() {
            Some(current) => Ok(current),
            None => Self::read().map(|read| CURRENT.get_or_init(|| read)),
        }
    }

    fn read() -> Result<Self> {
        let machine = read("/etc/machine-id")
            .or_else(|| read("/var/lib/dbus/machine-id"))
            .or_else(|| plain(&rustix::system::uname().nodename().to_string_lossy()))
            .unwrap_or_else(|| "machine".into());
        let boot = boot_id().ok_or_else(|| Error::Folder {
            path: "/proc/sys/kernel/random/boot_id".into(),
            why: "this system does not tell which boot it is in".into(),
            hint: "mount /proc, or use another store, such as redis://",
        })?;
        Ok(BootName { machine, boot })
    }

    /// As a folder's name.
    pub(super) fn folder(&self) -> String {
        format!("{}-{}", self.machine, self.boot)
    }

    /// Whether `folder` is that of another boot of this machine, so that nobody can be using it.
    pub(super) fn is_past(&self, folder: &str) -> bool {
        let boot = folder.strip_prefix(&self.machine).and_then(|rest| rest.strip_prefix('-'));
        boot.is_some_and(|boot| boot != self.boot && same_shape(boot, &self.boot))
    }
}

/// Whether two ids are written alike, so that nothing is taken for a boot's folder that is none.
fn same_shape(one: &str, other: &str) -> bool {
    let shape = |byte: u8| if byte.is_ascii_hexdigit() { b'0' } else { byte };
    one.len() == other.len() && one.bytes().map(shape).eq(other.bytes().map(shape))
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    plain(std::fs::read_to_string(path).ok()?.trim())
}

/// The part of a text that may stand in a file's name.
pub(super) fn plain(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    (!plain.is_empty()).then_some(plain)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_id() -> Option<String> {
    read("/proc/sys/kernel/random/boot_id")
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_id() -> Option<String> {
    ["kern.bootsessionuuid", "kern.boot_id", "kern.boottime"].into_iter().find_map(|name| {
        let said = std::process::Command::new("sysctl").args(["-n", name]).output().ok()?;
        // `{ sec = 1700000000, usec = 0 } Tue ...`: only the number before the first comma is stable.
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        plain(said.split(',').next().unwrap_or_default().trim())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_other_boots_of_this_machine_are_past() {
        let name = BootName { machine: "m1".into(), boot: "0a1b-22".into() };
        assert!(name.is_past("m1-ffff-00"));
        for other in ["m1-0a1b-22", "m1-0a1b-222", "m2-ffff-00", "m1", "m1-work-zz", "notes"] {
            assert!(!name.is_past(other), "{other}");
        }
        assert_eq!(BootName::current().unwrap(), BootName::current().unwrap());
    }
}
