//! The repositories: complete, current, without credentials, and closed to strangers.

use std::collections::BTreeMap;

use coldproof_evidence::{
    Mismatch, Record,
    source::{AnonymousAccess, CredentialSighting, RepositoryObservation, TreeObservation},
};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch, short},
    need::Need,
};

pub(crate) const RECURSIVE_CLONE: Criterion = Criterion::new(
    "source.recursive-clone",
    "the tree and its submodules were cloned fresh at the stated revisions, complete and clean; \
     the operator's own tree and the guest's checkout are at the same commits",
    &[Need::Source],
    recursive_clone,
)
.using(&[Need::System])
.of_an_original();

pub(crate) const GITLINK_CURRENT: Criterion = Criterion::new(
    "source.gitlink-current",
    "each submodule's committed gitlink is the tip of its branch, or a declared pin",
    &[Need::Source],
    gitlink_current,
)
.declared_when(|expected| !expected.source.pins.is_empty())
.of_an_original();

pub(crate) const NO_CREDENTIALS: Criterion = Criterion::new(
    "source.no-credentials",
    "no credential in .git/config, .gitmodules or remotes of the clone, the operator's tree and the guest's checkout, \
     nor in a unit's environment",
    &[Need::Source],
    no_credentials,
)
.using(&[Need::System])
.of_an_original();

pub(crate) const PRIVATE: Criterion = Criterion::new(
    "source.private",
    "each repository that is declared private refuses a clone without credentials",
    &[Need::Source],
    private,
)
.declared_when(|expected| expected.source.private)
.of_an_original();

fn recursive_clone(record: &Record) -> Option<Judgement> {
    let source = record.source.facts()?;
    let mut judgement = Judgement::new("the clone holds no repository");
    for repository in &source.repositories {
        judgement.subject(clone_mismatches(repository));
    }
    match &source.tree {
        Some(tree) => judgement.subject(tree_mismatches(tree, &source.repositories)),
        None if record.expectations.source.tree => {
            judgement.doubt("the operator's own tree is declared and was not looked at");
        }
        None => {}
    }
    if let Some(system) = record.system.facts().filter(|system| !system.checkout_heads.is_empty()) {
        judgement.subject(head_mismatches(
            "the guest's checkout",
            &system.checkout_heads,
            &source.repositories,
            "the guest cloned while the repository moved, or something checked out another commit there; prove again",
        ));
    }
    Some(judgement)
}

fn clone_mismatches(repository: &RepositoryObservation) -> Vec<Mismatch> {
    let path = &repository.path;
    let mut wrong = Vec::new();
    if repository.head != repository.stated {
        wrong.push(mismatch(
            path,
            format!("commit {}", short(&repository.stated)),
            if repository.head.is_empty() {
                "nothing checked out".into()
            } else {
                format!("commit {}", short(&repository.head))
            },
            "push the stated commit to the remote, and run `git submodule sync --recursive` where a URL moved",
        ));
    }
    if !repository.missing.is_empty() {
        wrong.push(mismatch(
            path,
            "every tracked file in the checkout",
            format!("missing: {}", repository.missing.join(", ")),
            "the checkout is incomplete: look for a filter, a sparse checkout or LFS objects that the remote lacks",
        ));
    }
    if !repository.status.is_empty() {
        wrong.push(mismatch(
            path,
            "a clean checkout",
            repository.status.join(", "),
            "a fresh clone that is not clean was changed by a filter or hook: remove it from .gitattributes",
        ));
    }
    wrong
}

fn tree_mismatches(tree: &TreeObservation, repositories: &[RepositoryObservation]) -> Vec<Mismatch> {
    let mut wrong = head_mismatches(
        &tree.path,
        &tree.heads,
        repositories,
        "commit and push what the tree holds, or update it: `git pull --recurse-submodules`",
    );
    if !tree.status.is_empty() {
        wrong.push(mismatch(
            &tree.path,
            "a clean tree",
            tree.status.join(", "),
            "commit and push these changes, or discard them: nobody else can build them",
        ));
    }
    wrong
}

fn head_mismatches(
    whose: &str,
    heads: &BTreeMap<String, String>,
    repositories: &[RepositoryObservation],
    remedy: &str,
) -> Vec<Mismatch> {
    let differs = |repository: &&RepositoryObservation| heads.get(&repository.path) != Some(&repository.stated);
    repositories
        .iter()
        .filter(differs)
        .map(|repository| {
            let found = heads.get(&repository.path).map_or("no checkout", |head| short(head));
            mismatch(
                format!("{whose}: {}", repository.path),
                format!("commit {}", short(&repository.stated)),
                found,
                remedy,
            )
        })
        .collect()
}

fn gitlink_current(record: &Record) -> Option<Judgement> {
    let source = record.source.facts()?;
    let mut judgement = Judgement::new("the repository has no submodule");
    for repository in source.repositories.iter().filter(|repository| repository.path != ".") {
        let RepositoryObservation { path, stated, branch, tip, .. } = repository;
        let pin = record.expectations.source.pins.get(path);
        if tip.is_empty() && pin != Some(stated) {
            judgement.doubt(format!("the tip of `{branch}` of {path} is not known"));
            continue;
        }
        let current = stated == tip || pin == Some(stated);
        judgement.subject((!current).then(|| {
            let pinned = pin.map(|pin| format!(", or the pin {}", short(pin))).unwrap_or_default();
            mismatch(
                path,
                format!("{} (the tip of `{branch}`){pinned}", short(tip)),
                format!("{} (the committed gitlink)", short(stated)),
                format!(
                    "the commit records {path}@{} but the branch `{branch}` is at {}: \
                     commit the new gitlink or pin it under [source.pins]",
                    short(stated),
                    short(tip),
                ),
            )
        }));
    }
    Some(judgement)
}

fn no_credentials(record: &Record) -> Option<Judgement> {
    let source = record.source.facts()?;
    let mut judgement = Judgement::new("no repository and no unit was looked at");
    let looked_at = source.repositories.len() + usize::from(source.tree.is_some());
    judgement.subjects(looked_at, source.credentials.iter().map(sighted));
    if let Some(system) = record.system.facts() {
        for unit in &system.units {
            judgement.subject(unit.credential_names.iter().map(|name| {
                mismatch(
                    format!("guest: {}", unit.name),
                    "no credential in the unit's environment",
                    format!("the variable {name} looks like one"),
                    "hand the credential over as a file: LoadCredential= or a sops secret",
                )
            }));
        }
        judgement.subjects(system.checkout_heads.len(), system.credentials.iter().map(sighted));
    }
    Some(judgement)
}

fn sighted(sighting: &CredentialSighting) -> Mismatch {
    let CredentialSighting { tree, file, line, kind } = sighting;
    mismatch(
        format!("{tree}: {file}:{line}"),
        "no credential",
        format!("something that looks like one ({kind})"),
        "remove it and revoke it, then hand credentials over by GIT_CONFIG_GLOBAL or a credential helper: \
         what stands in a repository's own files stays there",
    )
}

fn private(record: &Record) -> Option<Judgement> {
    let source = record.source.facts()?;
    let mut judgement = Judgement::new("the host definition declares no private repository");
    if !record.expectations.source.private {
        return Some(judgement);
    }
    for repository in &source.repositories {
        match &repository.anonymous {
            AnonymousAccess::Refused(_) => judgement.subject(None),
            AnonymousAccess::Granted => judgement.subject([mismatch(
                format!("{} ({})", repository.path, repository.url),
                "a refusal without credentials",
                "anybody can read it",
                "make the repository private, or declare `private = false` under [source]",
            )]),
            AnonymousAccess::NotTried => {
                judgement.doubt(format!("reading {} without credentials was not tried", repository.path));
            }
            AnonymousAccess::Failed(cause) => {
                judgement.doubt(format!("reading {} without credentials gave no answer: {cause}", repository.path));
            }
        }
    }
    Some(judgement)
}
