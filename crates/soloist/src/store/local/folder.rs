//! The folder of a local store: where it is, that it is ours alone, and that its file system can be trusted.
//!
//! ```text
//! <base>/<machine>-<boot>/   one a boot, so that nothing from before a power cut is ever read
//!     clock                  the base of the store's clock
//!     s/000..0ff             shards of keys
//!     p/<session>            FIFOs: wake-ups and liveness
//!     e/<subscriber>         FIFOs: events
//!     r/<id>                 large results
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::StatxFlags;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::boot::BootName;
use super::points;
use crate::error::{Error, Result};
use crate::name::Ticket;
use crate::protocol::Micros;
use crate::store::memory::StoreClock;

/// The owner only: whoever could read a shard file could also lock it.
pub(super) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// One folder, held open: whatever its path comes to mean later, this is the one that was checked.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

/// The folders of a store.
#[derive(Debug)]
pub(super) struct Folder {
    base: Dir,
    pub(super) root: Dir,
    pub(super) shards: Dir,
    pub(super) sessions: Dir,
    pub(super) events: Dir,
    pub(super) results: Dir,
}

/// What the operating system said about a file, as an error that names it.
pub(super) fn failed(path: &Path, verb: &str, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "nothing was changed; free some space on that disk: releasing locks works meanwhile"
        }
        io::ErrorKind::PermissionDenied => "the store's folder must belong to the user who runs this",
        io::ErrorKind::ReadOnlyFilesystem => "choose a writable place with local:/path",
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => "raise the limit of open files (ulimit -n)",
            _ => "choose another place with local:/path",
        },
    };
    Error::Folder { path: path.into(), why: format!("cannot be {verb}: {error}"), hint }
}

impl Dir {
    /// Opens a folder, made if missing, and checks that it is ours alone.
    fn open(path: PathBuf) -> Result<Self> {
        let found = path.clone();
        Self::open_at(rustix::fs::CWD, &found, path)
    }

    /// Likewise one in this, by a short way.
    fn sub(&self, name: &str) -> Result<Self> {
        Self::open_at(self.fd.as_fd(), Path::new(name), self.path.join(name))
    }

    fn open_at(from: BorrowedFd<'_>, name: &Path, path: PathBuf) -> Result<Self> {
        let refuse = |why: String, hint| Err(Error::Folder { path: path.clone(), why, hint });
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut opened = rustix::fs::openat(from, name, flags, Mode::empty());
        if matches!(opened, Err(Errno::NOENT)) {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| failed(&path, "made", error))?;
            opened = rustix::fs::openat(from, name, flags, Mode::empty());
        }
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return refuse("is not a folder but a link or a file".into(), "name the folder itself");
            }
            Err(error) => return Err(failed(&path, "opened", error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| failed(&path, "examined", error))?;
        let us = rustix::process::geteuid().as_raw();
        if stat.st_uid != us {
            let why = format!("belongs to user {}, not to user {us} who runs this", stat.st_uid);
            return refuse(why, "choose a folder of your own with local:/path");
        }
        if stat.st_mode & 0o077 != 0 {
            let why = format!("is open to others (mode {:04o})", stat.st_mode & 0o7777);
            return refuse(
                why,
                "whoever can open its files could hold the locks: name a folder that is the store's alone, and chmod 700 it",
            );
        }
        Ok(Dir { fd, path })
    }

    /// The names of what is in it.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Opens one of its files.
    pub(super) fn file(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat(&self.fd, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, FILE_MODE)
    }

    /// A new file that nobody looks for yet, to be given its name once it is whole.
    pub(super) fn new_file(&self) -> Result<(String, File)> {
        let name = format!(".new-{}", Ticket::mint());
        let file = self.file(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
        let file = file.map_err(|error| failed(&self.path.join(&name), "made", error))?;
        points::here("file made");
        Ok((name, File::from(file)))
    }

    /// Gives a whole file its name, unless there is one of that name already. The aside name goes.
    pub(super) fn settle(&self, aside: &str, name: &str) -> Result<()> {
        let linked = rustix::fs::linkat(&self.fd, aside, &self.fd, name, AtFlags::empty());
        points::here("file named");
        self.remove(aside);
        points::here("aside removed");
        match linked {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(failed(&self.path.join(name), "made", error)),
        }
    }

    /// Removes a file. One that is not there is as good as removed, and what stays is swept another time.
    pub(super) fn remove(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
    }
}

impl Folder {
    /// Opens the folder of this boot under `base`, or under the default place.
    pub(super) fn open(base: Option<&Path>) -> Result<Self> {
        let base = base.map(Path::to_path_buf).map_or_else(default_base, Ok)?;
        let base = Dir::open(base)?;
        shared_machine_only(&base)?;
        let boot = BootName::current()?;
        let root = base.sub(&boot.folder())?;
        let sub = |name: &str| root.sub(name);
        let (shards, sessions, events, results) = (sub("s")?, sub("p")?, sub("e")?, sub("r")?);
        Ok(Folder { base, root, shards, sessions, events, results })
    }

    /// What is left of other boots of this machine.
    pub(super) fn past(&self) -> Vec<PathBuf> {
        let Ok(boot) = BootName::current() else { return Vec::new() };
        let past = self.base.names().into_iter().filter(|name| boot.is_past(name));
        past.map(|name| self.base.path.join(name)).collect()
    }

    /// The store's clock: the wall clock of the moment when the folder was made, and from then on only the
    /// time since boot. All processes share the base, so they agree, and no clock step reaches them.
    pub(super) fn clock(&self) -> Result<StoreClock> {
        let path = self.root.path.join("clock");
        let read = || match self.root.file("clock", OFlags::RDONLY) {
            Ok(fd) => {
                // One short line, written before the file had its name.
                let mut text = [0; 32];
                let read = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut text[..]));
                let read = read.map_err(|error| failed(&path, "read", error))?;
                Ok(Some(String::from_utf8_lossy(&text[..read]).into_owned()))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed(&path, "opened", error)),
        };
        let text = match read()? {
            Some(text) => text,
            None => {
                let (aside, mut file) = self.root.new_file()?;
                let written = io::Write::write_all(&mut file, format!("{}\n", clock_base()).as_bytes());
                if let Err(error) = written {
                    self.root.remove(&aside);
                    return Err(failed(&path, "written", error));
                }
                self.root.settle(&aside, "clock")?;
                read()?.unwrap_or_default()
            }
        };
        clock_of(&text).map(StoreClock::based_on).ok_or_else(|| Error::Folder {
            path,
            why: "is damaged".into(),
            hint: "stop all programs that use this store, then remove its folder",
        })
    }
}

/// The base of the clock, from its file.
pub(super) fn clock_of(text: &str) -> Option<Micros> {
    // Tokens are at least the time, and below 2^53: no wall clock was ever there.
    text.trim().parse().ok().filter(|base| *base < 1 << 53)
}

fn clock_base() -> Micros {
    StoreClock::real().base()
}

/// Where a store is kept unless told otherwise: not the runtime directory, which ends with the login, and
/// not the temporary one, which is cleaned by age.
fn default_base() -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(state) = var("XDG_STATE_HOME") {
        return Ok(state.join("soloist"));
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/soloist".into());
    }
    var("HOME").map(|home| home.join(".local/state/soloist")).ok_or_else(|| Error::Folder {
        path: "~/.local/state/soloist".into(),
        why: "is not known: HOME is not set".into(),
        hint: "set HOME or XDG_STATE_HOME, or name a folder with local:/path",
    })
}

/// Whether an open file still has a name. Only that is asked for: a kernel of which the time of a write was asked
/// notes the next one exactly, and that costs each commit more than all else.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn has_name(file: impl AsFd) -> io::Result<bool> {
    match rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK) {
        Ok(stat) => Ok(stat.stx_nlink > 0),
        // Old sandboxes do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => Ok(rustix::fs::fstat(file)?.st_nlink > 0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn has_name(file: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstat(file)?.st_nlink > 0)
}

/// File systems that several machines share, or that user programs answer for: their locks or their FIFOs do
/// not reach everybody, so two holders would be possible.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn shared_machine_only(dir: &Dir) -> Result<()> {
    const REFUSED: [(u32, &str); 19] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x6573_5546, "FUSE or virtiofs"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x564c, "NCP"),
        (0x0116_1970, "GFS2"),
        (0x7461_636f, "OCFS2"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x1983_0326, "BeeGFS"),
        (0x786f_4256, "a VirtualBox shared folder"),
        (0xbacb_acbc, "a VMware shared folder"),
        (0xaad7_aaea, "PanFS"),
    ];
    let stat = rustix::fs::fstatfs(&dir.fd).map_err(|error| failed(&dir.path, "examined", error))?;
    // The type's width and sign differ between architectures; the magic numbers have 32 bits.
    let magic = stat.f_type as u32;
    match REFUSED.iter().find(|(refused, _)| *refused == magic) {
        None => Ok(()),
        Some((_, name)) => Err(Error::Folder {
            path: dir.path.clone(),
            why: format!("is on {name}, where locks do not reach everybody"),
            hint: "choose a folder on a disk of this machine with local:/path, or use redis://",
        }),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn shared_machine_only(_: &Dir) -> Result<()> {
    Ok(())
}
