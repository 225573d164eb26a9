//! Matching and selection.

use http::Method;
use weft_transcode::NoRoute;

use crate::FIXTURE;

fn find(method: &str, path: &str) -> String {
    let method: Method = method.parse().unwrap();
    match FIXTURE.router.find(&method, path) {
        Ok(found) => {
            let values: Vec<_> = found.values.iter().map(String::as_str).collect();
            format!("{} {}", found.route.method.name(), values.join(" "))
                .trim()
                .to_owned()
        }
        Err(NoRoute::NotFound) => "404".to_owned(),
        Err(NoRoute::MethodNotAllowed(allow)) => format!("405 {}", allow.join(",")),
        Err(NoRoute::Invalid(error)) => format!("400 {error}"),
    }
}

#[test]
fn requests_find_their_binding() {
    for (method, path, expected) in [
        ("GET", "/v1/books", "List"),
        ("GET", "/v1/shelves/1/books", "List shelves/1"),
        ("POST", "/v1/shelves/1/books", "Create shelves/1"),
        ("GET", "/v1/shelves/1/books/2", "Get shelves/1/books/2"),
        ("HEAD", "/v1/shelves/1/books/2", "Get shelves/1/books/2"),
        ("DELETE", "/v1/shelves/1/books/2", "Burn shelves/1/books/2"),
        ("PATCH", "/v1/shelves/1/books/2", "Update shelves/1/books/2"),
        (
            "POST",
            "/v1/shelves/1/books/2:lend",
            "Lend shelves/1/books/2",
        ),
        // Literals win over variables, and a branch whose method does not fit is left again.
        ("GET", "/v1/shelves/latest/books/best", "Latest"),
        (
            "DELETE",
            "/v1/shelves/latest/books/best",
            "Burn shelves/latest/books/best",
        ),
        (
            "GET",
            "/v1/shelves/latest/books/worst",
            "Get shelves/latest/books/worst",
        ),
        // A colon belongs to the value unless some template has that verb.
        ("GET", "/v1/shelves/1/books/a:b", "Get shelves/1/books/a:b"),
        (
            "GET",
            "/v1/shelves/1/books/a:lend",
            "Get shelves/1/books/a:lend",
        ),
        (
            "POST",
            "/v1/shelves/1/books/a:b:lend",
            "Lend shelves/1/books/a:b",
        ),
        ("GET", "/v1/files/a/b:watch", "Watch files/a/b"),
        ("GET", "/v1/files/a/b:other", "Download files/a/b:other"),
        ("GET", "/v1/files/a:watch/b", "Download files/a:watch/b"),
        // `**` takes none, one and many.
        ("GET", "/v1/files", "Download files"),
        ("GET", "/v1/files/", "Download files/"),
        ("GET", "/v1/files/a", "Download files/a"),
        ("GET", "/v1/files/a/b/c", "Download files/a/b/c"),
        ("GET", "/v1/files/a//c", "Download files/a//c"),
        ("GET", "/v1/files/../c", "Download files/../c"),
        ("GET", "/v1/numbers/7/KIND_POEM", "Number 7 KIND_POEM"),
        ("PURGE", "/v1/cache", "Purge"),
        ("GET", "/v1/anything", "Anything"),
        ("PUT", "/v1/anything", "Anything"),
    ] {
        assert_eq!(find(method, path), expected, "{method} {path}");
    }
}

#[test]
fn others_are_refused() {
    for (method, path, expected) in [
        ("GET", "", "404"),
        ("GET", "/", "404"),
        ("GET", "v1/books", "404"),
        ("GET", "/v1", "404"),
        ("GET", "/V1/books", "404"),
        ("GET", "/v1/books/", "404"),
        ("GET", "//v1/books", "404"),
        ("GET", "/v1//books", "404"),
        ("GET", "/v1/shelves//books", "404"),
        ("GET", "/v1/shelves/1/books/", "404"),
        ("GET", "/v1/shelves/1/books/2/x", "404"),
        ("GET", "/v1/x/../books", "404"),
        ("GET", "/vectors.Library/Internal", "404"),
        ("PUT", "/v1/books", "405 GET,HEAD,OPTIONS"),
        ("PUT", "/v1/shelves/1/books", "405 GET,HEAD,OPTIONS,POST"),
        (
            "POST",
            "/v1/shelves/1/books/2",
            "405 DELETE,GET,HEAD,OPTIONS,PATCH",
        ),
        (
            "POST",
            "/v1/shelves/latest/books/best",
            "405 DELETE,GET,HEAD,OPTIONS,PATCH",
        ),
        ("GET", "/v1/cache", "405 OPTIONS,PURGE"),
        ("get", "/v1/books", "405 GET,HEAD,OPTIONS"),
    ] {
        assert_eq!(find(method, path), expected, "{method} {path}");
    }
}

#[test]
fn paths_are_decoded_by_their_variable() {
    for (path, expected) in [
        ("/v1/shelves/1/books/a%20b", "Get shelves/1/books/a b"),
        ("/v1/shelves/1/books/a+b", "Get shelves/1/books/a+b"),
        ("/v1/shelves/1/books/%E2%82%AC", "Get shelves/1/books/€"),
        // A variable of several segments keeps an encoded slash.
        ("/v1/shelves/1/books/a%2Fb", "Get shelves/1/books/a%2Fb"),
        ("/v1/files/a%2fb%3Fc", "Download files/a%2fb?c"),
        // A variable of one segment decodes everything.
        ("/v1/numbers/7%2F8/%4B", "Number 7/8 K"),
        // Literals are compared decoded.
        ("/v1/%62ooks", "List"),
        ("/v1/shelves/1/books/%2e%2e", "Get shelves/1/books/.."),
        ("/v1/shelves/1/books/a%3Alend", "Get shelves/1/books/a:lend"),
    ] {
        assert_eq!(find("GET", path), expected, "{path}");
    }
    for path in [
        "/v1/shelves/1/books/%",
        "/v1/shelves/1/books/%4",
        "/v1/shelves/1/books/%GG",
        "/v1/shelves/1/books/%00",
        "/v1/shelves/1/books/%ff",
        "/v1/shelves/1/books/%c0%ae",
        "/v1/files/%ed%a0%80",
    ] {
        assert!(find("GET", path).starts_with("400"), "{path}");
    }
}
