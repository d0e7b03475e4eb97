//! TLS as the program has it: the system's roots, and a certificate that the server demands.

use crate::certificates::certificates;
use crate::place::{Ended, Place, Running};
use soloist::testing::{RedisServer, free_port};

#[test]
fn the_systems_roots_count_and_a_certificate_that_is_demanded_is_shown() {
    let mut place = Place::local();
    certificates(place.dir.path(), "localhost");
    let file = |name: &str| place.file(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let port = free_port();
    let tls = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let more = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "yes", "--requirepass", "geheim"];
    let _server = RedisServer::start_with(&[&tls[..], &more].concat());
    let url = format!("rediss://localhost:{port}?cert={cert}&key={key}");

    // Who manages the system's roots puts a CA among them; this variable names them all.
    let with = |place: &Place, url: &str, roots: Option<&str>| -> Ended {
        let mut command = place.command(&["-v", "run", "k", "--", "true"]);
        command.env("SOLOIST_STORE", url).env("SOLOIST_PASSWORD", "geheim").env_remove("SSL_CERT_DIR");
        match roots {
            Some(roots) => command.env("SSL_CERT_FILE", roots),
            None => command.env_remove("SSL_CERT_FILE"),
        };
        Running::of(command).end()
    };
    let ended = with(&place, &url, Some(&ca));
    assert_eq!(ended.code, 0, "{ended:?}");
    with(&place, &url, None).fails(125, "certificate");
    let ended = with(&place, &format!("rediss://localhost:{port}?ca={ca}"), None);
    assert_eq!(ended.code, 125, "it shows no certificate: {ended:?}");
    with(&place, &format!("{url}#insecure"), None).fails(125, "certificate is always verified");
    place.url = format!("{url}&ca={ca}");
    let ended = with(&place, &place.url, None);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.err.contains("geheim"), "{ended:?}");
}
