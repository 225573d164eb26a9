//! The storefront's files: read once at start, served from memory. A path is a key in a table, so
//! nothing outside the folder can be asked for.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use weft_channel::{Body, body};

/// More than a storefront has; a wrong folder in the mesh file shall not fill the memory.
const MAX_BYTES: u64 = 64 << 20;

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no folder of pages.
    #[error("{} holds more than {} MiB: is it the folder of the pages?", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The folder.
        path: PathBuf,
    },
}

/// All pages by path.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    files: HashMap<String, File>,
}

/// A file in memory.
#[derive(Debug)]
pub(crate) struct File {
    content: Bytes,
    content_type: &'static str,
    cache: &'static str,
    tag: HeaderValue,
}

impl Pages {
    /// Reads a folder and the folders in it. Hidden files and links are left out.
    pub(crate) fn read(folder: &Path) -> Result<Self, PagesError> {
        let mut pages = Self::default();
        let mut total = 0;
        let mut folders = vec![(folder.to_owned(), String::new())];
        while let Some((path, prefix)) = folders.pop() {
            let unreadable = |source| PagesError::Unreadable {
                path: path.clone(),
                source,
            };
            for entry in fs::read_dir(&path).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let kind = entry.file_type().map_err(unreadable)?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                if name.starts_with('.') {
                    continue;
                }
                let key = format!("{prefix}/{name}");
                if kind.is_dir() {
                    folders.push((entry.path(), key));
                } else if kind.is_file() {
                    total += entry.metadata().map_err(unreadable)?.len();
                    if total > MAX_BYTES {
                        let path = folder.to_owned();
                        return Err(PagesError::TooLarge { path });
                    }
                    let content = fs::read(entry.path()).map_err(|source| {
                        let path = entry.path();
                        PagesError::Unreadable { path, source }
                    })?;
                    pages
                        .files
                        .insert(key.clone(), File::new(&key, content.into()));
                }
            }
        }
        Ok(pages)
    }

    /// The page at a path as it was sent: `/` is `/index.html`, `/cart` is `/cart.html`.
    pub(crate) fn answer(&self, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let path = path.trim_end_matches('/');
        let names = [
            path.to_owned(),
            format!("{path}.html"),
            format!("{path}/index.html"),
        ];
        let file = names.iter().find_map(|name| self.files.get(name))?;
        Some(file.response(headers))
    }

    /// The page for a path where nothing is, for those who want a page.
    pub(crate) fn missing(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
        if !accept.contains("text/html") {
            return None;
        }
        let mut response = self.files.get("/404.html")?.response(&HeaderMap::new());
        *response.status_mut() = StatusCode::NOT_FOUND;
        Some(response)
    }
}

impl File {
    /// Its name tells content type and caching.
    pub(crate) fn new(name: &str, content: Bytes) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &content);
        let tag = format!(
            "\"{}\"",
            BASE64_URL_SAFE_NO_PAD.encode(&digest.as_ref()[..15])
        );
        let (content_type, cache) = kind(name);
        Self {
            content,
            content_type,
            cache,
            tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    /// The file, or that the caller has it already.
    pub(crate) fn response(&self, headers: &HeaderMap) -> Response<Body> {
        let known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == self.tag.as_bytes());
        let mut response = if known {
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            Response::new(body::full(self.content.clone()))
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        let cache = HeaderValue::from_static(self.cache);
        headers.insert(header::CACHE_CONTROL, cache);
        if !known {
            let kind = HeaderValue::from_static(self.content_type);
            headers.insert(header::CONTENT_TYPE, kind);
        }
        response
    }
}

/// Content type and caching. What pages are made of is asked for each time, at the price of a 304.
fn kind(name: &str) -> (&'static str, &'static str) {
    let revalidate = "no-cache";
    let day = "public, max-age=86400";
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => ("text/html; charset=utf-8", revalidate),
        "css" => ("text/css; charset=utf-8", revalidate),
        "js" | "mjs" => ("text/javascript; charset=utf-8", revalidate),
        "json" | "map" => ("application/json", revalidate),
        "webmanifest" => ("application/manifest+json", revalidate),
        "txt" => ("text/plain; charset=utf-8", revalidate),
        "xml" => ("application/xml", revalidate),
        "svg" => ("image/svg+xml", day),
        "png" => ("image/png", day),
        "jpg" | "jpeg" => ("image/jpeg", day),
        "webp" => ("image/webp", day),
        "avif" => ("image/avif", day),
        "gif" => ("image/gif", day),
        "ico" => ("image/x-icon", day),
        "woff2" => ("font/woff2", day),
        _ => ("application/octet-stream", revalidate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("js")).unwrap();
        for (name, text) in [
            ("index.html", "home"),
            ("cart.html", "cart"),
            ("404.html", "missing"),
            ("js/app.js", "code"),
            (".secret", "hidden"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("passwd")).unwrap();
        Pages::read(folder.path()).unwrap()
    }

    #[test]
    fn paths_name_files() {
        let pages = pages();
        let none = HeaderMap::new();
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/index.html", "text/html; charset=utf-8"),
            ("/cart", "text/html; charset=utf-8"),
            ("/cart/", "text/html; charset=utf-8"),
            ("/js/app.js", "text/javascript; charset=utf-8"),
        ] {
            let response = pages.answer(path, &none).expect(path);
            assert_eq!(response.headers()["content-type"], kind);
        }
        for path in [
            "/cart.htm",
            "/js",
            "/../Cargo.toml",
            "/js/../index.html",
            "//index.html",
            "/.secret",
            "/passwd",
            "/%2e%2e/etc/passwd",
            "/js%2fapp.js",
            "",
            "/cart.html/x",
        ] {
            let found = pages.answer(path, &none).is_some();
            assert_eq!(found, path.is_empty(), "{path}");
        }
    }

    #[test]
    fn a_known_tag_is_answered_without_content() {
        let pages = pages();
        let first = pages.answer("/", &HeaderMap::new()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()["etag"].clone());
        assert_eq!(pages.answer("/", &headers).unwrap().status(), 304);
    }

    #[test]
    fn the_missing_page_is_for_browsers() {
        let pages = pages();
        assert!(pages.missing(&HeaderMap::new()).is_none());
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/html,*/*"));
        assert_eq!(pages.missing(&headers).unwrap().status(), 404);
    }
}
