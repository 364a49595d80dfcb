//! From the written document to the definition: files are looked at, names related, defaults filled in.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use toml::Spanned;

use super::{
    GuestPath, HostDefinition, HostError, HostName, Name, RepositoryPath, Size, Span,
    definition::{Bootstrap, Fault, Host, Machine, Provider, Secret, Shared, Tls, Waiver},
    diagnostic::Document,
    document as written,
};

/// Where a document's errors point to, and where its relative paths begin.
pub(super) struct Loader<'a> {
    pub(super) document: Document<'a>,
    pub(super) base: PathBuf,
}

impl HostDefinition {
    /// Reads the host definition in `file`. Keys and credentials are not read, only looked for.
    ///
    /// # Errors
    /// When the file cannot be read, or anything in it is wrong: the error shows the line and what to do.
    pub fn load(file: &Path) -> Result<Self, HostError> {
        let unreadable = |source| HostError::Unreadable { path: file.to_owned(), source };
        let text = fs::read_to_string(file).map_err(unreadable)?;
        let absolute = std::path::absolute(file).map_err(unreadable)?;
        let base = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let document = Document { file, text: &text };
        let written: written::Document = toml::from_str(&text).map_err(|error| document.malformed(&error))?;
        Loader { document, base }.definition(written)
    }
}

impl Loader<'_> {
    fn definition(&self, written: written::Document) -> Result<HostDefinition, HostError> {
        let sops_files = self.sops_files(written.sops)?;
        Ok(HostDefinition {
            file: self.document.file.to_owned(),
            host: Host {
                attribute: written.host.attribute.unwrap_or_else(|| written.host.name.clone()),
                name: written.host.name,
                flake: written.host.flake.unwrap_or_default(),
                rebuild: written.host.rebuild.unwrap_or_default(),
                toplevel: written.host.toplevel,
            },
            source: self.source(written.source)?,
            recipients: self.recipients(written.recipients)?,
            allowed_egress: written.network.allow,
            bootstrap: Bootstrap {
                key: self.key(written.bootstrap.key)?,
                path: written.bootstrap.path,
                recipient: written.bootstrap.recipient,
            },
            machine: self.machine(written.machine)?,
            secrets: self.secrets(written.secrets, &sops_files)?,
            waivers: self.waivers(written.coverage)?,
            shared: written.ordering.map(|ordering| self.shared(ordering)).transpose()?,
            tls: written.tls.map(|tls| self.tls(tls, &sops_files)).transpose()?,
            services: self.services(written.services)?,
            required: written.policy.required,
            fault: written.fault.map(|fault| self.fault(fault)).transpose()?,
            sops_files,
        })
    }

    fn sops_files(&self, sops: written::SopsTable) -> Result<Vec<RepositoryPath>, HostError> {
        let mut files = Vec::new();
        for file in sops.files {
            self.refuse_duplicate(&file, files.contains(file.get_ref()))?;
            files.push(file.into_inner());
        }
        Ok(files)
    }

    fn machine(&self, machine: written::MachineTable) -> Result<Machine, HostError> {
        let cpus = match machine.cpus {
            Some(cpus) if *cpus.get_ref() == 0 => {
                return Err(self.document.error(cpus.span(), "a machine without a processor", "write 1 or more"));
            }
            Some(cpus) => cpus.into_inner(),
            None => 2,
        };
        let disk = machine.disk.unwrap_or(Size::gib(8));
        let on_server = machine.provider == Provider::Incus
            && machine.incus.as_ref().is_some_and(|incus| incus.get_ref().image.is_some());
        let packages = self.packages(machine.packages, on_server || machine.image.is_some())?;
        Ok(Machine {
            packages,
            provider: machine.provider,
            memory: machine.memory.unwrap_or(Size::gib(2)),
            cpus,
            disk,
            image: machine.image.map(|image| self.image(image, machine.provider, disk)).transpose()?,
            original: machine.ssh.map(|ssh| self.original(ssh)).transpose()?,
            deadline: machine.deadline.unwrap_or(Span::minutes(10)),
            incus: machine.incus.map(|incus| self.incus(incus)).transpose()?,
        })
    }

    fn secrets(
        &self,
        tables: BTreeMap<String, Spanned<written::SecretTable>>,
        sops_files: &[RepositoryPath],
    ) -> Result<BTreeMap<String, Secret>, HostError> {
        let mut paths: Vec<GuestPath> = Vec::new();
        let mut secrets = BTreeMap::new();
        for (name, table) in tables {
            let span = table.span();
            let table = table.into_inner();
            self.refuse_duplicate(&table.path, paths.contains(table.path.get_ref()))?;
            paths.push(table.path.get_ref().clone());
            let sops_file = match table.file {
                Some(file) => self.known_sops_file(file, sops_files)?,
                None => sops_files.first().cloned().ok_or_else(|| {
                    self.document.error(
                        span,
                        format!("secret `{name}` comes from no sops file"),
                        "add `files = [\"secrets/secrets.yaml\"]` under [sops]",
                    )
                })?,
            };
            let secret = Secret {
                sops_key: table.key.unwrap_or_else(|| name.clone()),
                sops_file,
                path: table.path.into_inner(),
                mode: table.mode,
                owner: table.owner.unwrap_or_else(Name::root),
                group: table.group.unwrap_or_else(Name::root),
                links: table.links,
                public: table.public,
            };
            secrets.insert(name, secret);
        }
        Ok(secrets)
    }

    fn waivers(&self, coverage: written::CoverageTable) -> Result<Vec<Waiver>, HostError> {
        let explained = |waiver: Spanned<Waiver>| {
            if waiver.get_ref().reason.trim().is_empty() {
                return Err(self.document.error(
                    waiver.span(),
                    "a waiver without a reason",
                    "say why this need not be declared, for whoever reads the verdict",
                ));
            }
            Ok(waiver.into_inner())
        };
        coverage.waive.into_iter().map(explained).collect()
    }

    fn shared(&self, ordering: written::OrderingTable) -> Result<Vec<Shared>, HostError> {
        let explained = |shared: Spanned<Shared>| {
            let Shared { path, units, reason } = shared.get_ref();
            let (problem, remedy) = if reason.trim().is_empty() {
                ("paths are shared without a reason", "say why that does no harm, for whoever reads the verdict")
            } else if units.is_empty() || !path.as_str().starts_with('/') {
                ("it does not say who shares what", "write an absolute `path`, and the `units` that share it")
            } else {
                return Ok(shared.into_inner());
            };
            Err(self.document.error(shared.span(), problem, remedy))
        };
        ordering.allow.into_iter().map(explained).collect()
    }

    fn tls(&self, tls: written::TlsTable, sops_files: &[RepositoryPath]) -> Result<Tls, HostError> {
        let mut names: Vec<HostName> = Vec::new();
        if tls.names.get_ref().is_empty() {
            return Err(self.document.error(
                tls.names.span(),
                "no name is to be served",
                "list the names that clients ask for, or leave [tls] out",
            ));
        }
        for name in tls.names.into_inner() {
            self.refuse_duplicate(&name, names.contains(name.get_ref()))?;
            names.push(name.into_inner());
        }
        let in_sops = |value: Spanned<super::SopsValue>| {
            let span = value.span();
            let value = value.into_inner();
            self.known_sops_file(Spanned::new(span, value.sops_file.clone()), sops_files).map(|_| value)
        };
        Ok(Tls {
            certificate: in_sops(tls.certificate)?,
            private_key: tls.private_key.map(in_sops).transpose()?,
            roots: self.roots(&tls.roots)?,
            names,
            wildcard_probe: tls.wildcard_probe.unwrap_or(true),
            port: match tls.port {
                Some(port) if *port.get_ref() == 0 => {
                    return Err(self.document.error(port.span(), "port 0 is nobody's", "write the port in the guest"));
                }
                Some(port) => port.into_inner(),
                None => 443,
            },
            min_days: tls.min_days.unwrap_or(14),
        })
    }

    fn roots(&self, written: &Spanned<PathBuf>) -> Result<Vec<CertificateDer<'static>>, HostError> {
        let path = self.existing(written, "a file with root certificates")?;
        let refused = |problem: String| {
            let remedy = "name a PEM file that holds the root certificates";
            self.document.error(written.span(), problem, remedy)
        };
        let roots: Vec<_> = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect)
            .map_err(|error| refused(format!("{} cannot be read as PEM: {error}", path.display())))?;
        if roots.is_empty() {
            return Err(refused(format!("{} holds no certificate", path.display())));
        }
        if let Some(error) = roots.iter().find_map(|root| webpki::anchor_from_trusted_cert(root).err()) {
            return Err(refused(format!("{} holds something that is no root: {error}", path.display())));
        }
        Ok(roots)
    }

    fn fault(&self, fault: written::FaultTable) -> Result<Fault, HostError> {
        Ok(Fault {
            name: fault.name,
            stage: fault.stage,
            script: self.existing(&fault.script, "the script that injects the fault")?,
        })
    }

    fn known_sops_file(
        &self,
        file: Spanned<RepositoryPath>,
        known: &[RepositoryPath],
    ) -> Result<RepositoryPath, HostError> {
        if known.contains(file.get_ref()) {
            return Ok(file.into_inner());
        }
        Err(self.document.error(
            file.span(),
            format!("`{}` is not among the declared sops files", file.get_ref()),
            format!("add \"{}\" to `files` under [sops]", file.get_ref()),
        ))
    }

    pub(super) fn refuse_duplicate<T: ToString>(
        &self,
        value: &Spanned<T>,
        is_duplicate: bool,
    ) -> Result<(), HostError> {
        if !is_duplicate {
            return Ok(());
        }
        let problem = format!("`{}` is declared twice", value.get_ref().to_string());
        Err(self.document.error(value.span(), problem, "declare it once"))
    }

    /// The path that `written` names, relative to the host definition's own directory, if there is something.
    pub(super) fn existing(&self, written: &Spanned<PathBuf>, what: &str) -> Result<PathBuf, HostError> {
        let path = self.base.join(written.get_ref());
        if path.exists() {
            return Ok(path);
        }
        Err(self.document.error(
            written.span(),
            format!("there is no {}", path.display()),
            format!("name {what}, relative to the directory of the host definition"),
        ))
    }
}
