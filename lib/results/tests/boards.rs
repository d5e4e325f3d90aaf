//! The views over a seeded history, as pages see them.

use burrow_results::boards::Boards;
use burrow_results::model::{BuildId, BuildState};
use burrow_results::seed::{Seed, fill, hash_at};
use burrow_results::{BuildFilter, MIGRATIONS, Results};
use burrow_store::{Db, sql};

const NOW: i64 = 1_790_000_000_000;

async fn seeded(commits: usize, builders: usize) -> (Db, Boards) {
    let db = Db::open("sqlite::memory:", MIGRATIONS).await.unwrap();
    fill(&db, &Seed { commits, builders: Seed::builders(builders), now_ms: NOW, detailed: 5 }).await.unwrap();
    let boards = Boards::new(Results::new(db.clone()));
    (db, boards)
}

#[tokio::test]
async fn a_grid_has_every_commit_and_builder_and_pages_do_not_overlap() {
    let (_db, boards) = seeded(20, 12).await;
    let repo = boards.results().repos().await.unwrap().remove(0);
    let first = boards.board(&repo, "main", None, 8).await.unwrap();
    assert_eq!(first.rows.len(), 8);
    assert_eq!(first.rows[0].commit.hash, hash_at(19));
    let grid = first.grid(vec![]);
    assert_eq!(grid.builders.len(), 12);
    assert!(grid.rows.iter().all(|row| row.cells.len() == 12 && row.cells.iter().all(Option::is_some)));
    let second = boards.board(&repo, "main", first.next, 8).await.unwrap();
    assert_eq!(second.rows[0].commit.hash, hash_at(11));
    let third = boards.board(&repo, "main", second.next, 8).await.unwrap();
    assert_eq!((third.rows.len(), third.next), (4, None));
    assert_eq!(boards.results().newer_page("sample", "main", third.rows[0].position, 8).await.unwrap(), Some(second.rows[0].position + 1));
    assert_eq!(boards.results().newer_page("sample", "main", second.rows[0].position, 8).await.unwrap(), None);
}

#[tokio::test]
async fn a_cell_follows_its_newest_build_once_the_change_is_told_and_remembers_that_it_was_flaky() {
    let (db, boards) = seeded(4, 3).await;
    let hash = hash_at(1);
    let builder = &Seed::builders(3)[0];
    let before = boards.cells("sample", &[&hash]).await.unwrap();
    let old = before[0].get(builder).unwrap().build;
    db.commit(vec![
        sql("UPDATE builds SET state = 'failed_test', superseded = 1 WHERE id = $1", (old.0,)),
        sql(
            "INSERT INTO builds SELECT 9000, repo, branch, hash, builder, dep_hash, class, 'passed', 0, origin, reason, spec, commit_s, created_ms, started_ms, ended_ms, attempts, 0, NULL, 0, log_hash, NULL FROM builds WHERE id = $1",
            (old.0,),
        ),
    ])
    .await
    .unwrap();
    assert_eq!(boards.cells("sample", &[&hash]).await.unwrap()[0].get(builder).unwrap().build, old, "nobody told of a change");
    boards.changed("sample", &hash);
    let after = boards.cells("sample", &[&hash]).await.unwrap();
    let cell = after[0].get(builder).unwrap();
    assert_eq!((cell.build, cell.state, cell.flaky), (BuildId(9000), BuildState::Passed, true));
    let page = boards.results().build(old).await.unwrap().unwrap();
    assert_eq!(page.newer, Some(BuildId(9000)));
}

#[tokio::test]
async fn what_is_red_names_the_first_bad_commit_and_the_suspects() {
    let (db, boards) = seeded(12, 5).await;
    let builder = Seed::builders(5)[3].clone();
    // The verdicts of this builder, oldest first: good ×4, not built, failed, lost, failed ×5.
    for position in 0..12 {
        let state = match position {
            0..=3 => "passed",
            4 => "cancelled",
            6 => "infra_failed",
            _ => "failed_test",
        };
        db.commit(vec![sql("UPDATE builds SET state = $1 WHERE builder = $2 AND hash = $3", (state, &builder, hash_at(position)))]).await.unwrap();
    }
    let overview = boards.overview(5).await.unwrap();
    let red = overview.red.iter().find(|red| red.builder == builder && red.branch == "main").unwrap();
    assert_eq!(red.first_bad.hash, hash_at(5));
    assert_eq!(red.last_good.as_ref().unwrap().hash, hash_at(3));
    assert_eq!(red.suspects, Some(2), "the commit that was not built is a suspect too");
    let tile = overview.tiles.iter().find(|tile| tile.branch == "main").unwrap();
    assert_eq!(tile.health, "failing");
    assert_eq!(tile.tip.as_ref().unwrap().hash, hash_at(11));
}

#[tokio::test]
async fn lists_filter_and_continue_where_they_stopped() {
    let (_db, boards) = seeded(30, 12).await;
    let results = boards.results();
    let filter = BuildFilter { builder: Some(Seed::builders(12)[3].clone()), states: vec![BuildState::FailedTest], ..BuildFilter::default() };
    let all = results.builds(&filter, 100).await.unwrap();
    assert!(all.items.len() >= 6 && all.next.is_none());
    let first = results.builds(&filter, 4).await.unwrap();
    let rest = results.builds(&BuildFilter { before: first.next.map(BuildId), ..filter }, 100).await.unwrap();
    let ids: Vec<_> = first.items.iter().chain(&rest.items).map(|line| line.id).collect();
    assert_eq!(ids, all.items.iter().map(|line| line.id).collect::<Vec<_>>());
    let lines = results.build_lines(&[ids[2], BuildId(-5), ids[0]]).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.id).collect::<Vec<_>>(), [ids[2], ids[0]]);
}

#[tokio::test]
async fn a_commit_is_found_by_prefix_and_says_what_it_broke() {
    let (_db, boards) = seeded(12, 12).await;
    let hash = hash_at(6);
    let found = boards.results().find_commit("sample", &hash[..9]).await.unwrap();
    assert_eq!(found.len(), 1);
    let (commit, parents) = found.into_iter().next().unwrap();
    assert_eq!(commit.hash, hash);
    let page = boards.results().commit_page(commit, parents).await.unwrap();
    let broken = &Seed::builders(12)[3];
    assert!(page.newly_broken.contains(broken), "{:?}", page.newly_broken);
    assert!(page.builds[0].state.failed());
    assert_eq!(page.builds.len(), 12);
}
