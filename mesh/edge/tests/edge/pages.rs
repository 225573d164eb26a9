//! The storefront's pages beside the API.

use crate::backend::Shop;

#[tokio::test]
async fn pages_and_api_share_the_port() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("index.html", "home"),
        ("cart.html", "cart"),
        ("404.html", "lost"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().to_owned();
    let shop = Shop::with(|config| config.pages = Some(path)).await;
    let home = shop.get("/").await;
    assert_eq!((home.status.as_u16(), home.text()), (200, "home"));
    assert!(
        home.header("content-security-policy")
            .contains("script-src 'self'")
    );
    assert_eq!(shop.get("/cart?x=1").await.text(), "cart");
    let tag = home.header("etag").to_owned();
    let again = shop.send("GET", "/", &[("if-none-match", &tag)], "").await;
    assert_eq!((again.status.as_u16(), again.text()), (304, ""));
    let browser = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let lost = shop.send("GET", "/nowhere", &browser, "").await;
    assert_eq!((lost.status.as_u16(), lost.text()), (404, "lost"));
    assert_eq!(shop.get("/nowhere").await.error(), "404 UNKNOWN_PATH");
    assert_eq!(
        shop.get("/../../etc/passwd").await.error(),
        "404 UNKNOWN_PATH"
    );
    assert_eq!(
        shop.get("/%2e%2e/%2e%2e/etc/passwd").await.error(),
        "404 UNKNOWN_PATH"
    );
    let post = shop.send("POST", "/cart", &[], "").await;
    assert_eq!(post.error(), "405 METHOD_NOT_ALLOWED");
    assert_eq!(shop.get("/v1/products").await.status, 200);
}
