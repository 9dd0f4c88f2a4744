//! `lifeboat diff`: what changed of an asset, and that what may hold a secret is shown to nobody who did not ask.

use crate::daemon::site;
use crate::environment::Environment;
use crate::ownership::write;

/// Writes the media of a day: a setting and a secret that all may read, and one that only its owner may.
fn day(environment: &Environment, port: &str, password: &str, pin: &str) {
    let file = |name: &str, text: String, mode| {
        write(&environment.path(format!("media/{name}")), &text, mode);
    };
    file("app.conf", format!("name shop\nlisten {port}\n"), 0o644);
    file(".env", format!("PASSWORD={password}\n"), 0o644);
    file("terminal", format!("pin {pin}\n"), 0o600);
}

fn lines<'j>(document: &'j serde_json::Value, name: &str) -> &'j serde_json::Value {
    let changes = document["changes"].as_array().unwrap();
    let named = |path: &serde_json::Value| path.as_str().unwrap().ends_with(name);
    &changes.iter().find(|change| named(&change["path"])).expect(name)["lines"]
}

#[test]
fn what_changed_is_shown_by_line_and_what_may_be_secret_only_when_asked_for() {
    let environment = site();
    day(&environment, "80", "hunter", "1234");
    environment.run(["backup"]).success();
    assert_ne!(environment.run(["diff", "media"]).code(), 0, "there is nothing before it");
    day(&environment, "8080", "fisher", "5678");
    environment.write("media/new", "of the second day");
    std::fs::remove_file(environment.path("media/upload")).unwrap();
    environment.run(["backup"]).success();

    let shown = environment.run(["diff", "media"]).success();
    for told in ["M    [HOME]/media/app.conf\n", "-listen 80\n", "+listen 8080\n"] {
        assert!(shown.contains(told), "{told} in {shown}");
    }
    for told in ["+    [HOME]/media/new", "-    [HOME]/media/upload"] {
        assert!(shown.contains(told), "{told} in {shown}");
    }
    let counted = "1 lines came, 1 went; it may hold secrets (--content)";
    for hidden in [".env", "terminal"] {
        assert!(shown.contains(&format!("/media/{hidden}   {counted}\n")), "{hidden} in {shown}");
    }
    let document = environment.run(["--json", "diff", "media"]).json();
    assert_eq!(document["schema"], "lifeboat.diff/1");
    assert_eq!(lines(&document, ".env")["unified"], serde_json::Value::Null);
    for secret in ["hunter", "fisher", "1234", "5678"] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!document.to_string().contains(secret), "{document:#}");
    }

    let all = environment.run(["diff", "media", "--content"]).success();
    for told in ["-PASSWORD=hunter\n", "+PASSWORD=fisher\n", "-pin 1234\n", "+pin 5678\n"] {
        assert!(all.contains(told), "{told} in {all}");
    }
    let document = environment.run(["--json", "diff", "media", "--content"]).json();
    assert!(lines(&document, ".env")["unified"].as_str().unwrap().contains("+PASSWORD=fisher"));
}
