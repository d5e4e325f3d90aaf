//! A small disk that a test can fill.

use std::ffi::CString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// A file system of its own of some megabytes in memory; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of so many mebibytes. `None`: that cannot be done here, and the test is recorded as skipped.
    ///
    /// # Panics
    /// There is no temporary folder.
    pub fn mount(mebibytes: usize) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        match mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(size(mebibytes).as_c_str())) {
            Ok(()) => Some(SmallDisk { dir }),
            Err(error) => {
                crate::skip(&format!("cannot mount a small file system ({error}); needs root"));
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Fills it to the last byte; [`SmallDisk::empty_out`] takes that back.
    ///
    /// # Panics
    /// The file that fills it cannot be made.
    pub fn fill(&self) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.ballast()).expect("a file needs no room");
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Fills it until so many bytes are free, in whole pages.
    ///
    /// # Panics
    /// As [`SmallDisk::fill`].
    pub fn fill_but(&self, free: u64) {
        self.fill();
        let file = std::fs::OpenOptions::new().write(true).open(self.ballast()).expect("it was just written");
        let length = file.metadata().expect("it is open").len();
        file.set_len(length.saturating_sub(free)).expect("shrinking needs no room");
    }

    /// Takes away what [`SmallDisk::fill`] wrote.
    ///
    /// # Panics
    /// It was not filled.
    pub fn empty_out(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled before");
    }

    /// Gives it another size.
    ///
    /// # Panics
    /// The system refuses.
    pub fn resize(&self, mebibytes: usize) {
        mount_remount(self.path(), MountFlags::empty(), size(mebibytes).as_c_str()).expect("it was mounted by us");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

fn size(mebibytes: usize) -> CString {
    CString::new(format!("size={mebibytes}m")).expect("digits")
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}
