//! The host that is there already, in a host definition.

use coldproof_machines::ssh_host::SshHost;
use toml::Spanned;

use super::{
    HostError,
    definition::{Original, Provider},
    document::SshTable,
    load::Loader,
};

impl Loader<'_> {
    pub(super) fn original(&self, written: Spanned<SshTable>) -> Result<Original, HostError> {
        let span = written.span();
        let SshTable { host, config, address, witness } = written.into_inner();
        // The first would be an option of ssh's; the others are never part of a name.
        if host.get_ref().is_empty() || host.get_ref().starts_with('-') || host.get_ref().contains(char::is_whitespace)
        {
            return Err(self.document.error(
                host.span(),
                "this is no destination of ssh",
                "write `user@name`, or a `Host` of the configuration of ssh",
            ));
        }
        if witness == Provider::Ssh {
            return Err(self.document.error(
                span,
                "nothing is built on a host that is only read",
                "write `witness = \"qemu\"` or `witness = \"docker\"`: who makes the machine that builds",
            ));
        }
        let config = config.map(|config| self.existing(&config, "a configuration of ssh")).transpose()?;
        Ok(Original { ssh: SshHost { destination: host.into_inner(), config, address }, witness })
    }
}
