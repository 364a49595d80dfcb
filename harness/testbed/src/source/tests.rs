use std::fs;

use coldproof_evidence::source::{AnonymousAccess, RepositoryObservation, SourceObservation};
use rstest::rstest;

use super::{
    ErrorKind, SourceError, SourceSpec, observe,
    test_world::{World, files_below},
};
use crate::network::GitClient;

async fn observed(world: &World, spec: &SourceSpec) -> Result<SourceObservation, SourceError> {
    let (access, _work) = world.access(spec).await?;
    observe(spec, &access).await.map(|(observation, _)| observation)
}

fn at<'o>(observation: &'o SourceObservation, path: &str) -> &'o RepositoryObservation {
    observation.repositories.iter().find(|repository| repository.path == path).unwrap()
}

#[tokio::test]
async fn a_fresh_recursive_clone_is_complete_clean_and_holds_no_credential() {
    let world = World::new();
    let spec = SourceSpec { tree: Some(world.path("operator")), ..world.spec() };
    let (access, work) = world.access(&spec).await.unwrap();
    let (observation, clone) = observe(&spec, &access).await.unwrap();

    for (path, dir, served) in [(".", "operator", "base.git"), ("secrets", "author", "secrets.git")] {
        let repository = at(&observation, path);
        let head = world.head(dir);
        assert_eq!([&repository.head, &repository.stated, &repository.tip], [&head; 3], "{path}");
        assert_eq!(repository.branch, "main");
        assert_eq!(repository.url, world.path("served").join(served).canonicalize().unwrap().display().to_string());
        assert_eq!((&repository.status, &repository.missing), (&vec![], &vec![]));
        assert!(matches!(&repository.anonymous, AnonymousAccess::Refused(words) if words.contains("Username")));
    }
    assert_eq!(fs::read_to_string(clone.path().join("secrets/secrets.yaml")).unwrap(), "first");
    assert_eq!(observation.credentials, []);
    let tree = observation.tree.unwrap();
    assert_eq!(tree.heads["secrets"], world.head("author"));
    assert_eq!(tree.status, Vec::<String>::new());

    let secret = access.secret().unwrap();
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == &secret[..]);
    assert!(!files_below(work.path()).iter().any(|file| file.is_file() && holds(&fs::read(file).unwrap())));
    let requests = access.server().unwrap().requests();
    assert!(requests.iter().any(|request| request.status == 401 && request.client == GitClient::Controller));

    drop((access, clone));
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1, "only the socket is left");
}

#[tokio::test]
async fn branches_tags_and_commits_are_revisions() {
    let world = World::new();
    let tagged = world.head("operator");
    let newer = world.commit("operator", "README", "newer");
    world.git("operator", &["push", "-q", "origin", "HEAD:next"]);
    for (revision, commit) in [("v1", &tagged), ("next", &newer), (&newer, &newer), (&newer[..9], &newer)] {
        let observation =
            observed(&world, &SourceSpec { revision: revision.to_owned(), ..world.spec() }).await.unwrap();
        let superproject = at(&observation, ".");
        assert_eq!([&superproject.head, &superproject.stated], [commit; 2], "{revision}");
        let branch = if revision == "next" { "next" } else { "main" };
        assert_eq!(superproject.branch, branch);
        assert_eq!(superproject.tip, if branch == "next" { newer.clone() } else { tagged.clone() });
    }
}

#[tokio::test]
async fn an_old_gitlink_looks_clean_and_is_not_the_tip() {
    let world = World::new();
    let old = world.head("author");
    let new = world.commit("author", "secrets.yaml", "rotated");
    world.git("author", &["push", "-q", "origin", "HEAD:main"]);
    let observation = observed(&world, &world.spec()).await.unwrap();
    let secrets = at(&observation, "secrets");
    assert_eq!([&secrets.head, &secrets.stated, &secrets.tip], [&old, &old, &new]);
    assert_eq!(secrets.status, Vec::<String>::new());
}

#[tokio::test]
async fn a_gitlink_that_was_never_pushed_is_a_fact() {
    let world = World::new();
    let unpushed = world.commit("operator/secrets", "secrets.yaml", "unpushed");
    world.git("operator", &["commit", "-qam", "Forget to push the secrets"]);
    world.git("operator", &["push", "-q", "--no-recurse-submodules", "origin", "HEAD:main"]);
    let observation = observed(&world, &world.spec()).await.unwrap();
    let secrets = at(&observation, "secrets");
    assert_eq!((secrets.head.as_str(), &secrets.stated), ("", &unpushed));
    assert!(secrets.missing[0].contains("not our ref"), "{:?}", secrets.missing);
}

#[tokio::test]
async fn a_gitlink_without_an_entry_is_a_fact() {
    let world = World::new();
    world.git("operator", &["rm", "-q", "--cached", ".gitmodules"]);
    world.git("operator", &["commit", "-qm", "Lose .gitmodules"]);
    world.git("operator", &["push", "-q", "origin", "HEAD:main"]);
    let observation = observed(&world, &world.spec()).await.unwrap();
    assert!(at(&observation, "secrets").missing[0].contains("no entry in .gitmodules"));
}

#[tokio::test]
async fn a_public_repository_answers_a_stranger() {
    let world = World::new();
    fs::write(world.path("served/secrets.git/git-daemon-export-ok"), "").unwrap();
    let observation = observed(&world, &world.spec()).await.unwrap();
    assert_eq!(at(&observation, "secrets").anonymous, AnonymousAccess::Granted);
    assert!(matches!(at(&observation, ".").anonymous, AnonymousAccess::Refused(_)));
    let observation = observed(&world, &SourceSpec { private: false, ..world.spec() }).await.unwrap();
    assert_eq!(at(&observation, "secrets").anonymous, AnonymousAccess::NotTried);
}

#[tokio::test]
async fn the_operators_tree_shows_its_changes_and_credentials() {
    let world = World::new();
    let ahead = world.commit("operator/secrets", "secrets.yaml", "ahead");
    fs::write(world.path("operator/untracked"), "").unwrap();
    fs::write(world.path("operator/secrets/dirty"), "").unwrap();
    world.git("operator", &["config", "http.https://h.extraHeader", "Authorization: Basic eDp5"]);
    world.git("operator/secrets", &["remote", "set-url", "origin", "https://ci:hunter2@h/secrets.git"]);
    let spec = SourceSpec { tree: Some(world.path("operator")), ..world.spec() };
    let observation = observed(&world, &spec).await.unwrap();
    let tree = observation.tree.unwrap();
    assert_eq!(tree.heads["secrets"], ahead);
    assert_eq!(tree.status, [".:  M secrets", ".: ?? untracked", "secrets: ?? dirty"]);
    let seen: Vec<_> = observation.credentials.iter().map(|s| (&*s.tree, &*s.file, &*s.kind)).collect();
    let expected = [("tree", ".git/config", "extra-header"), ("tree", ".git/modules/secrets/config", "url-userinfo")];
    assert_eq!(seen, expected);
}

#[rstest]
#[case::repository_missing("served/nothing.git", "main", "there is no git repository")]
#[case::directory_without_repository("served", "main", "there is no git repository")]
#[case::revision_missing("served/base.git", "release", "has no revision `release`")]
#[case::revision_of_the_clone_only("served/base.git", "HEAD~0", "has no revision")]
#[case::commit_missing("served/base.git", "0123456789abcdef0123456789abcdef01234567", "has no revision")]
#[tokio::test]
async fn what_the_definition_gets_wrong_is_its_own_fault(
    #[case] repository: &str,
    #[case] revision: &str,
    #[case] problem: &str,
) {
    let world = World::new();
    let url = world.path(repository).display().to_string();
    let spec = SourceSpec { url, revision: revision.to_owned(), ..world.spec() };
    let error = observed(&world, &spec).await.unwrap_err();
    assert!(error.to_string().contains(problem), "{error}");
    assert_eq!(error.kind(), ErrorKind::Definition);
}

#[tokio::test]
async fn a_submodule_outside_the_parent_directory_or_over_another_protocol_is_refused() {
    let world = World::new();
    for (url, problem) in [("../../outside.git", "there is no git repository"), ("file:///outside.git", "protocol")] {
        world.git("operator", &["config", "--file", ".gitmodules", "submodule.secrets.url", url]);
        world.git("operator", &["commit", "-qam", url]);
        world.git("operator", &["push", "-q", "origin", "HEAD:main"]);
        let error = observed(&world, &world.spec()).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
        assert_eq!(error.kind(), ErrorKind::Definition);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_infrastructure_and_a_wrong_credential_is_not() {
    let world = World::new();
    let (access, _work) = world.access(&world.spec()).await.unwrap();
    let credential = crate::network::Credential::random().ok();
    let spec = SourceSpec { url: access.url().to_string(), credential, ..world.spec() };
    let error = observed(&world, &spec).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Definition);

    let right = SourceSpec { credential: access.server().map(|server| server.credential().clone()), ..spec.clone() };
    assert_eq!(at(&observed(&world, &right).await.unwrap(), ".").head, world.head("operator"));

    drop(access);
    let error = observed(&world, &right).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Infrastructure);
}
