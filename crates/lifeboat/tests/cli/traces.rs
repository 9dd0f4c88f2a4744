//! Traces: what was done is sent to a collector when the environment asks for it, and whoever collects is not waited for.

use crate::environment::Environment;
use techit::sink::Sink;

fn site() -> Environment {
    let environment = Environment::new();
    let media = environment.write("media/upload", "of the first day");
    let tier = format!("primary={}", environment.path("first").display());
    let path = format!("media={}", media.parent().unwrap().display());
    let made = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier", &tier];
    environment.run(made.iter().chain(&["--asset-path", path.as_str()])).success();
    environment
}

#[test]
fn a_command_is_traced_when_the_environment_asks_for_it() {
    let collector = Sink::of_requests().unwrap();
    let endpoint = format!("http://127.0.0.1:{}", collector.port());
    let environment = site().with("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    environment.run(["backup"]).success();
    let sent = collector.taken().concat();
    assert!(sent.starts_with("POST /v1/traces "), "{sent}");
    for told in
        ["service.name", "lifeboat", "command", "backup", "store", "asset", "media", "primary"]
    {
        assert!(sent.contains(told), "{told} in {sent}");
    }

    let environment = environment.with("OTEL_SDK_DISABLED", "true");
    environment.run(["verify"]).success();
    assert_eq!(collector.taken(), Vec::<String>::new());
}

#[test]
fn a_collector_that_is_away_costs_a_warning_and_one_that_is_no_address_is_refused() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let environment = site().with(name, format!("http://127.0.0.1:{port}/v1/traces"));
    let backed_up = environment.run(["backup"]);
    assert_eq!(backed_up.code(), 0, "{backed_up}");
    assert!(backed_up.stderr().contains("telemetry data will be lost"), "{backed_up}");

    let environment = environment.with(name, "nowhere at all");
    let refused = environment.run(["backup"]).failure(2);
    assert!(refused.contains(name), "{refused}");
}
