//! The last good configuration on disk: one response per type, each with its length before it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use prost::Message;

use crate::{proto::envoy::service::discovery::v3::DiscoveryResponse, resources::ResourceType};

const FILE: &str = "last-good.binpb";
/// More than any mesh here needs; a damaged file must not fill the memory.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Replaces the file as a whole.
pub(super) fn save(dir: &Path, responses: &[DiscoveryResponse]) -> io::Result<()> {
    let mut content = Vec::new();
    for response in responses {
        content.extend(response.encode_length_delimited_to_vec());
    }
    let temporary = dir.join(format!("{FILE}.tmp"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// Nothing if there is no file.
///
/// # Errors
/// If the file cannot be read or is not what [`save`] wrote. The message names it.
pub(super) fn load(dir: &Path) -> io::Result<Vec<(ResourceType, DiscoveryResponse)>> {
    let path = dir.join(FILE);
    let at = |kind, reason: String| io::Error::new(kind, format!("{}: {reason}", path.display()));
    let content = match read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(error.kind(), error.to_string())),
    };
    decode(&content).map_err(|reason| at(io::ErrorKind::InvalidData, reason))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    if size > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it has {size} bytes, at most {MAX_BYTES} are read"
        )));
    }
    fs::read(path)
}

fn decode(mut rest: &[u8]) -> Result<Vec<(ResourceType, DiscoveryResponse)>, String> {
    let mut responses = Vec::new();
    while !rest.is_empty() {
        let response = DiscoveryResponse::decode_length_delimited(&mut rest)
            .map_err(|error| error.to_string())?;
        let kind = ResourceType::from_url(&response.type_url).ok_or_else(|| {
            format!(
                "unknown resource type `{}`",
                response.type_url.escape_debug()
            )
        })?;
        responses.push((kind, response));
    }
    Ok(responses)
}
