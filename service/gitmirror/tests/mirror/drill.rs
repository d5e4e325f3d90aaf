//! The drill itself.

use burrow_gitmirror::drill;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn the_alarm_works() {
    let scene = Scene::empty();
    let deps = scene.deps();
    let dir = std::fs::canonicalize(scene.dir.path()).unwrap().join("drill");
    std::fs::create_dir(&dir).unwrap();
    let tools = drill::Tools { http: deps.http, clock: deps.clock, dir, limit: std::time::Duration::from_secs(2) };
    let report = drill::scratch(tools).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.tried.len(), 9);
}
