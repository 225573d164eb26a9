//! Where the mesh file, its workspace and its data are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{args::Place, system};

/// Finds the mesh file: the one given, or `mesh/mesh.yaml` or `mesh.yaml` here or above.
///
/// # Errors
///
/// If there is none.
pub fn mesh_file(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(file) = given {
        return Ok(file.to_owned());
    }
    let here = env::current_dir().context("the current folder cannot be read")?;
    for folder in here.ancestors() {
        for name in ["mesh/mesh.yaml", "mesh.yaml"] {
            let file = folder.join(name);
            if file.is_file() {
                // Shorter in messages, where it is below.
                return Ok(file.strip_prefix(&here).map(Path::to_owned).unwrap_or(file));
            }
        }
    }
    bail!(
        "no mesh/mesh.yaml or mesh.yaml in {} or above\n  help: go to the folder of the project, \
         or name the file with --mesh",
        here.display()
    )
}

/// The cargo workspace around a mesh file, or else its folder.
///
/// # Errors
///
/// If the path cannot be resolved.
pub fn workspace(mesh_file: &Path) -> anyhow::Result<PathBuf> {
    let file = std::path::absolute(mesh_file)?;
    let folder = file.parent().context("the mesh file has no folder")?;
    let is_workspace = |folder: &&Path| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"));
        manifest.is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
    };
    Ok(folder
        .ancestors()
        .find(is_workspace)
        .unwrap_or(folder)
        .to_owned())
}

/// The data folder of a place, absolute, without creating it.
///
/// # Errors
///
/// If neither a data folder is given nor a mesh file found.
pub fn data_folder(place: &Place) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &place.data {
        return Ok(std::path::absolute(folder)?);
    }
    Ok(workspace(&mesh_file(place.mesh.as_deref())?)?.join(".weft"))
}

/// How this program is called from here: by its name where that finds it, else by its path.
pub fn own_name() -> String {
    let Ok(own) = system::own_executable() else {
        return "weft".to_owned();
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = env::split_paths(&path).map(|folder| folder.join("weft"));
    if found
        .find(|file| file.is_file())
        .and_then(|file| file.canonicalize().ok())
        .is_some_and(|file| file == own)
    {
        return "weft".to_owned();
    }
    let here = env::current_dir().unwrap_or_default();
    let short = own.strip_prefix(&here).unwrap_or(&own);
    short.display().to_string()
}
