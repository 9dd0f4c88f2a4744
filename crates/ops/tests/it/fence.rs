//! A host on which the platform does not live leaves it alone, whatever its plan says.

use lifeboat_model::Cancel;
use lifeboat_ops::OpsError;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::residence::{PlaceError, fence, is_place};
use lifeboat_ops::wire::Reached;

use crate::ground::{Ground, MEDIA_ON_TWO, back_up};

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
    back_up(&ground.site(&placed)).unwrap();
    ground.surroundings.hostname = "web-2".to_owned();
    fence::claim(&ground.site(&placed), ("alice", "web-1 burnt"), &Cancel::new()).unwrap();
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    ground.surroundings.hostname = "web-1".to_owned();
    for plan in [MEDIA_ON_TWO, &placed] {
        let refused = back_up(&ground.site(plan)).unwrap_err().to_string();
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

#[test]
fn a_disk_that_another_place_alone_sees_is_not_waited_for_and_a_shared_folder_counts() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let placed = format!("{MEDIA_ON_TWO}{PLACES}");
    let with = |first: &str, second: &str| {
        let plan = placed.replace("HOME/first\"", &format!("HOME/first\"{first}"));
        plan.replace("HOME/second\"", &format!("HOME/second\"{second}"))
    };
    back_up(&ground.site(&placed)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "nothing has to survive a crash")]
    std::fs::rename(ground.path("second"), ground.path("away")).unwrap();
    let unknown = back_up(&ground.site(&placed)).unwrap_err().to_string();
    assert!(unknown.contains("is not known") && unknown.contains("(secondary)"), "{unknown}");
    let (main, both) = ("\nplaces = [\"main\"]", "\nplaces = [\"main\", \"standby\"]");
    let unknown = back_up(&ground.site(&with(main, both))).unwrap_err().to_string();
    assert!(unknown.contains("(secondary)"), "the shared one could tell of a move: {unknown}");

    // The other place's own disk tells nothing here, and gets nothing from here.
    let report = back_up(&ground.site(&with(main, "\nplaces = [\"standby\"]"))).unwrap();
    let tiers: Vec<_> = report.assets[0].snapshots.iter().map(|on| on.tier.as_str()).collect();
    assert_eq!((tiers, report.ending), (vec!["primary"], Ending::Succeeded));
    // One folder that others see is as good as a store in the network.
    back_up(&ground.site(&with(both, ""))).unwrap();
    let site = ground.site(&with(main, "\nplaces = [\"standby\"]"));
    let Reached::Trouble(trouble) = site.reach(&"secondary".parse().unwrap()) else {
        panic!("it is not seen here");
    };
    assert!(trouble.message.contains("it is standby that see it"), "{}", trouble.message);
}
