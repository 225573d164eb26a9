//! What operators see on the admin port.

use std::time::SystemTime;

use crate::support::{AUTHORITY, Mesh};

#[tokio::test]
async fn the_admin_port_shows_what_is_in_force() {
    let mesh = Mesh::new("pages.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    caller.client().await.unary("hello").await.unwrap();

    let configuration = caller.json("/config_dump").await;
    let target = &configuration["snapshot"]["targets"][AUTHORITY];
    assert_eq!(target["identity"], mesh.id("echo").as_str());
    assert_eq!(
        target["endpoints"][0]["address"],
        server.inbound.to_string()
    );
    let rules = &server.json("/config_dump").await["snapshot"]["inbound"];
    assert_eq!(rules["allow_rules"][0]["name"], "friends");

    let clusters = caller.json("/clusters?format=json").await;
    assert_eq!(clusters[0]["authority"], AUTHORITY);
    assert_eq!(clusters[0]["connections"], 1);
    assert_eq!(clusters[0]["endpoints"][0]["instance"], "echo-1");
    let table = caller.page("/clusters").await;
    let endpoint = format!("{AUTHORITY}::{}::health::HEALTHY\n", server.inbound);
    assert!(table.contains(&endpoint), "no {endpoint} in:\n{table}");
    assert!(table.contains(&format!("{AUTHORITY}::connections::1\n")));

    let listeners = caller.page("/listeners").await;
    let expected = format!(
        "inbound::{}\noutbound::{}\n",
        caller.inbound, caller.outbound
    );
    assert_eq!(listeners, expected);
    let listeners = server.json("/listeners?format=json").await;
    assert_eq!(listeners[0]["name"], "inbound");
    assert_eq!(listeners[0]["connections"], 1);

    let index = caller.page("/").await;
    assert!(index.contains("href=\"/config_dump\""));
    assert_eq!(server.json("/inbound").await["in_flight"], 0);
}

#[tokio::test]
async fn the_certificate_is_shown_with_its_dates_and_without_its_key() {
    let mesh = Mesh::new("pages.local");
    let (_echo, server, _) = mesh.echo().await;
    let shown = &server.json("/certs").await["certificates"][0];
    assert_eq!(shown["identity"], mesh.id("echo").as_str());
    assert_eq!(shown["trustDomain"], "pages.local");
    let time = |name: &str| -> SystemTime {
        let time: jiff::Timestamp = shown[name].as_str().unwrap().parse().unwrap();
        time.into()
    };
    let (svid, now) = (server.identity.svid(), SystemTime::now());
    assert_eq!(
        (time("notBefore"), time("notAfter")),
        (svid.not_before(), svid.not_after())
    );
    assert!(time("notBefore") < now && now < time("notAfter"));
    let left = shown["secondsLeft"].as_u64().unwrap();
    assert!((1..=600).contains(&left), "{left}");
    assert!(!server.page("/certs").await.contains("KEY"));
}
