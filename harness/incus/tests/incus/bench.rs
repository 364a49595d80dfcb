//! What the tests share.

use std::{
    io,
    time::{Duration, Instant},
};

use coldproof_incus::{
    client::Client,
    instance::{InstanceSpec, InstanceType, Source},
    mark::Mark,
};
use coldproof_machines::deadline::Deadline;
use libtest_mimic::{Failed, Trial};

/// A test that runs `body` on a runtime of its own.
pub(crate) fn trial<F>(name: &'static str, body: fn() -> F) -> Trial
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    Trial::test(name, move || runtime()?.block_on(Box::pin(body())).map_err(|error| Failed::from(format!("{error:#}"))))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

pub(crate) fn within(seconds: u64) -> Deadline {
    Deadline::after(Duration::from_secs(seconds))
}

/// A small container that starts from the image `image`.
pub(crate) fn container(client: &Client, name: &str, image: &str) -> InstanceSpec {
    let config = [
        ("security.nesting", "true"),
        ("environment.SYSTEMD_PROC_CMDLINE", "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"),
    ];
    InstanceSpec {
        name: name.to_owned(),
        kind: InstanceType::Container,
        source: Source::Fingerprint(image.to_owned()),
        memory: 1 << 30,
        cpus: 1,
        pool: "pool".to_owned(),
        disk: None,
        user_data: None,
        config: config.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        mark: Mark::new(client.fingerprint(), "test", &format!("nonce-{name}"), Duration::from_secs(3600)),
    }
}

/// Says how long something took.
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn lap(&mut self, what: &str) {
        eprintln!("{:7.3} s  {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}
