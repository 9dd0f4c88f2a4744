//! Secrets: read from everywhere, seen nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lifeboat_model::{Cancel, Silent};
use lifeboat_ops::key::confirm;
use lifeboat_ops::readiness::readiness;
use lifeboat_ops::secret::{SecretError, resolve};
use lifeboat_ops::status::status;
use lifeboat_ops::{OpsError, Site};
use lifeboat_plan::SecretRef;

use crate::ground::{Ground, MEDIA_ON_TWO, back_up};

/// A place as a plan names it, read out of a plan.
fn place(ground: &Ground, key: &str) -> SecretRef {
    let text = ground.plan_text(MEDIA_ON_TWO);
    let file = format!("file = \"{}\"", ground.path("recovery.key").display());
    ground.site_from(text.replace(&file, key)).plan().key().secret.clone()
}

fn read(ground: &Ground, key: &str) -> Result<String, SecretError> {
    let secret = resolve(&place(ground, key), &ground.surroundings, &Cancel::new())?;
    Ok(secret.expose().to_owned())
}

#[test]
fn every_place_is_read_and_a_trailing_newline_is_not_part_of_it() {
    let mut ground = Ground::new();
    ground.surroundings.environment.insert("WORD".to_owned(), "from env".to_owned());
    ground.surroundings.credentials_directory = Some(ground.path("credentials"));
    ground.write("credentials/word", "from systemd\n");
    ground.write("word", "from file\r\n");
    fs::set_permissions(ground.path("word"), fs::Permissions::from_mode(0o400)).unwrap();
    let file = format!("file = \"{}\"", ground.path("word").display());
    assert_eq!(read(&ground, &file).unwrap(), "from file");
    assert_eq!(read(&ground, "env = \"WORD\"").unwrap(), "from env");
    assert_eq!(read(&ground, "command = [\"echo\", \"from command\"]").unwrap(), "from command");
    assert_eq!(read(&ground, "credential = \"word\"").unwrap(), "from systemd");
}

#[test]
fn what_is_wrong_is_said_without_the_secret() {
    let ground = Ground::new();
    ground.write("word", "hunter2");
    fs::set_permissions(ground.path("word"), fs::Permissions::from_mode(0o640)).unwrap();
    let file = format!("file = \"{}\"", ground.path("word").display());
    let exposed = read(&ground, &file).unwrap_err();
    assert!(matches!(exposed, SecretError::Exposed { mode: 0o640, .. }), "{exposed}");
    let failing = "command = [\"sh\", \"-c\", \"echo hunter2; echo hunter2 >&2; exit 1\"]";
    let error = OpsError::from(read(&ground, failing).unwrap_err());
    let told = format!("{error:?} {}", lifeboat_ops::error::explain(&error));
    assert!(told.contains("exit code 1") && !told.contains("hunter2"), "{told}");
    assert!(matches!(read(&ground, "env = \"UNSET\""), Err(SecretError::Variable { .. })));
    assert!(matches!(read(&ground, "credential = \"x\""), Err(SecretError::Credential { .. })));
    assert!(matches!(read(&ground, "command = [\"true\"]"), Err(SecretError::Unusable { .. })));
}

/// Everything that a user may see of a run, together.
fn everything(site: &Site) -> String {
    let cancel = Cancel::new();
    let backup = back_up(site).unwrap();
    let (status, ready) = (status(site).unwrap(), readiness(site, &Silent, &cancel).unwrap());
    let json = [
        serde_json::to_string(&backup).unwrap(),
        serde_json::to_string(&status).unwrap(),
        serde_json::to_string(&ready).unwrap(),
    ];
    format!("{site:?} {backup:?} {status:?} {ready:?} {json:?}")
}

#[test]
fn the_recovery_key_is_seen_nowhere() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let site = ground.site(MEDIA_ON_TWO);
    let confirmed = confirm(&site, &ground.key.spelled(), &Cancel::new()).unwrap();
    let shown = format!("{} {confirmed:?}", everything(&site));
    let spelled = ground.key.spelled();
    let identity = ground.key.age_identity();
    for secret in [spelled.expose(), identity.expose(), &spelled.expose()[9..20]] {
        assert!(!shown.contains(secret));
    }
    // Nor in any file that is kept, but for the one where the plan says that it is.
    for folder in ["state", "first", "second"] {
        let found = std::process::Command::new("grep")
            .args(["-r", "-l", "-F", spelled.expose()])
            .arg(ground.path(folder))
            .output()
            .unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    }
}

#[test]
fn another_key_than_the_plans_is_refused() {
    let ground = Ground::new();
    let other = Ground::new();
    let text = ground.plan_text(MEDIA_ON_TWO);
    let theirs = other.path("recovery.key").display().to_string();
    let ours = ground.path("recovery.key").display().to_string();
    let error = back_up(&ground.site_from(text.replace(&ours, &theirs))).unwrap_err();
    assert!(matches!(error, OpsError::AnotherKey { .. }), "{error}");
    assert!(!ground.path("first").exists());
}
