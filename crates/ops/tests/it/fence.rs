//! A host on which the platform does not live leaves it alone, whatever its plan says.

use lifeboat_model::{Cancel, Silent};
use lifeboat_ops::OpsError;
use lifeboat_ops::backup::{BackupOptions, backup};
use lifeboat_ops::residence::{PlaceError, fence, is_place};

use crate::ground::{Ground, MEDIA_ON_TWO};

const PLACES: &str = "
[places.main]
host = \"web-1\"

[places.standby]
host = \"web-2\"
";

#[test]
fn a_plan_of_before_there_were_places_does_not_lift_the_fence() {
    let mut ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let placed = format!("{MEDIA_ON_TWO}{PLACES}");
    let back_up = |ground: &Ground, plan: &str| {
        backup(&ground.site(plan), &BackupOptions::default(), &Silent, &Cancel::new())
    };
    back_up(&ground, &placed).unwrap();
    ground.surroundings.hostname = "web-2".to_owned();
    fence::claim(&ground.site(&placed), ("alice", "web-1 burnt"), &Cancel::new()).unwrap();
    back_up(&ground, MEDIA_ON_TWO).unwrap();
    ground.surroundings.hostname = "web-1".to_owned();
    for plan in [MEDIA_ON_TWO, &placed] {
        let refused = back_up(&ground, plan).unwrap_err().to_string();
        assert!(refused.contains("lives at `standby` (web-2)"), "{refused}");
    }
    let refused = fence::expect_as_known(&ground.site(MEDIA_ON_TWO)).unwrap_err().to_string();
    assert!(refused.contains("lives at `standby` (web-2)"), "{refused}");
}

#[test]
fn a_host_that_the_plan_calls_one_place_is_no_other() {
    let ground = Ground::new();
    let site = ground.site(&format!("{MEDIA_ON_TWO}{PLACES}"));
    is_place(&site, &"main".parse().unwrap()).unwrap();
    let refused = is_place(&site, &"standby".parse().unwrap()).unwrap_err();
    assert!(matches!(&refused, OpsError::Place(PlaceError::NamedOtherwise { .. })), "{refused}");
}
