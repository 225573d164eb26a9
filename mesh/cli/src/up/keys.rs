//! Where certificates and their keys are kept for starts while the control plane is away: in memory, as
//! keys never touch a disk.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::data::DataFolder;

const PREFIX: &str = "weft-keys-";

/// A folder of this run alone, which goes with it. `None` where no file system is known to be in memory:
/// a process that is started again while the control plane is away waits for it then.
pub fn folder(data: &DataFolder) -> Option<TempDir> {
    let note = data.path().join("keys-folder");
    if let Ok(left) = fs::read_to_string(&note) {
        remove(Path::new(&left));
    }
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = of_user.into_iter().chain([PathBuf::from("/dev/shm")]);
    let folder = places
        .filter(|place| is_in_memory(place))
        .find_map(|place| {
            let private = fs::Permissions::from_mode(0o700);
            let mut folder = tempfile::Builder::new();
            let folder = folder.prefix(PREFIX).permissions(private);
            folder.tempdir_in(place).ok()
        })?;
    // For the next run, if this one is killed.
    let _ = fs::write(note, folder.path().as_os_str().as_encoded_bytes());
    Some(folder)
}

fn is_in_memory(place: &Path) -> bool {
    weft_identity::is_in_memory(place).unwrap_or(false)
}

/// What an earlier run left that was killed.
fn remove(left: &Path) {
    let name = left.file_name().and_then(OsStr::to_str);
    let is_ours = name.is_some_and(|name| name.starts_with(PREFIX));
    if is_ours && left.parent().is_some_and(is_in_memory) {
        // It may be gone, or be somebody else's by now.
        let _ = fs::remove_dir_all(left);
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_private_and_the_next_run_removes_what_was_left() {
        let data = tempfile::tempdir().unwrap();
        let data = DataFolder::new(data.path().to_owned());
        data.create().unwrap();
        let left = folder(&data).unwrap().keep();
        let mode = fs::metadata(&left).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(left.join("orders-1.pem"), "key").unwrap();
        let next = folder(&data).unwrap();
        assert!(!left.exists() && next.path().exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_else_is_removed() {
        let other = tempfile::Builder::new()
            .prefix("other-")
            .tempdir_in("/dev/shm");
        let other = other.unwrap();
        let data = tempfile::tempdir().unwrap();
        let data = DataFolder::new(data.path().to_owned());
        data.create().unwrap();
        let note = other.path().as_os_str().as_encoded_bytes();
        fs::write(data.path().join("keys-folder"), note).unwrap();
        let _ = folder(&data).unwrap();
        assert!(other.path().exists());
    }
}
