//! Instances of ours that outlived their time, whatever became of the ledger that knew of them.

use coldproof_machines::{
    deadline::Deadline,
    receipt::{Destroyed, ReleasedResource, ResourceKind},
};

use crate::{client::Client, error::IncusError, instance::Instance, mark::Mark, provider::NAME};

impl Client {
    /// Removes every instance that bears a mark of this certificate, whose time is over and whose lease is not `held`: a
    /// ledger that has it knows more about it. Whatever bears another mark, or none, is left alone.
    ///
    /// # Errors
    /// [`IncusError`] when the instances cannot be listed.
    pub async fn remove_expired(
        &self,
        held: impl Fn(&str) -> bool + Send,
        deadline: Deadline,
    ) -> Result<Vec<Destroyed>, IncusError> {
        let instances = self.instances(deadline).await?;
        let marked = instances.iter().filter_map(|instance| Some((instance, instance.mark()?)));
        let over: Vec<(&Instance, Mark)> = marked
            .filter(|(_, mark)| mark.owner == self.fingerprint() && mark.has_expired() && !held(&mark.nonce))
            .collect();
        let mut receipts = Vec::new();
        for (instance, mark) in over {
            let removed = self.remove(&instance.name, &mark.nonce, deadline).await;
            let name = format!("{NAME} {}", instance.name);
            let resource =
                ReleasedResource::looked_for(ResourceKind::Remote, name, removed.is_ok()).because(removed.err());
            receipts.push(Destroyed {
                machine: instance.name.clone(),
                lease: mark.nonce,
                processes: Vec::new(),
                resources: vec![resource],
            });
        }
        Ok(receipts)
    }
}
