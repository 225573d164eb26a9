//! The ready file: a process tells whoever started it that it serves, and where.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Writes `value` as JSON into `path`, whole or not at all: readers never see half a file.
///
/// # Errors
///
/// If the folder is missing or not writable.
pub fn write(path: &Path, value: &serde_json::Value) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = fs::File::create(&temporary).and_then(|mut file| {
        serde_json::to_writer(&mut file, value)?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&temporary, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        write(&path, &serde_json::json!({"listen": "127.0.0.1:1"})).unwrap();
        write(&path, &serde_json::json!({"listen": "127.0.0.1:2"})).unwrap();

        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"listen\":\"127.0.0.1:2\"}\n"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
