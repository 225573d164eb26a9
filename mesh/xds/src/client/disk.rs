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
pub(super) fn load(dir: &Path) -> io::Result<Vec<(ResourceType, DiscoveryResponse)>> {
    let path = dir.join(FILE);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    if size > MAX_BYTES {
        return Err(invalid(format!("{} has {size} bytes", path.display())));
    }
    let content = fs::read(&path)?;
    let mut rest = content.as_slice();
    let mut responses = Vec::new();
    while !rest.is_empty() {
        let response = DiscoveryResponse::decode_length_delimited(&mut rest)
            .map_err(|error| invalid(format!("{}: {error}", path.display())))?;
        let kind = ResourceType::from_url(&response.type_url)
            .ok_or_else(|| invalid(format!("{}: unknown resource type", path.display())))?;
        responses.push((kind, response));
    }
    Ok(responses)
}
