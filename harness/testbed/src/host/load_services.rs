//! The services in a host definition: what each must answer, be or run.

use std::collections::BTreeMap;

use toml::Spanned;
use url::Url;

use super::{HostError, Name, UnitName, definition::Service, document::ServiceTable, load::Loader};

impl Loader<'_> {
    pub(super) fn services(
        &self,
        tables: BTreeMap<Name, Spanned<ServiceTable>>,
    ) -> Result<BTreeMap<Name, Service>, HostError> {
        tables.into_iter().map(|(name, table)| Ok((name, self.service(table)?))).collect()
    }

    fn service(&self, table: Spanned<ServiceTable>) -> Result<Service, HostError> {
        let span = table.span();
        let table = table.into_inner();
        match (&table.url, &table.unit, &table.stack) {
            (Some(url), None, None) => self.http(url, &table),
            (None, Some(unit), None) => self.unit(unit.clone(), &table),
            (None, None, Some(stack)) => self.stack(stack.clone(), &table, span),
            (None, None, None) => Err(self.document.error(
                span,
                "a service with neither URL nor unit nor stack",
                "give it a `url`, a `unit` or a `stack`",
            )),
            _ => Err(self.document.error(
                span,
                "a service with more than one of URL, unit and stack",
                "give it a `url`, a `unit` or a `stack`; declare a service of its own for each",
            )),
        }
    }

    fn http(&self, url: &Spanned<String>, table: &ServiceTable) -> Result<Service, HostError> {
        let otherwise = "write `status = 200`, or declare the other as a service of its own";
        self.refuse(table.state.as_ref(), "a URL has no state", otherwise)?;
        self.refuse(table.replicas.as_ref(), "a URL has no replicas", otherwise)?;
        Ok(Service::Http { url: self.service_url(url)?, status: self.status(table.status.as_ref())? })
    }

    fn unit(&self, unit: UnitName, table: &ServiceTable) -> Result<Service, HostError> {
        let otherwise = "write `state = \"active\"`, or declare the other as a service of its own";
        self.refuse(table.status.as_ref(), "a unit has no HTTP status", otherwise)?;
        self.refuse(table.replicas.as_ref(), "a unit has no replicas", otherwise)?;
        Ok(Service::Unit { unit, state: table.state.as_ref().map(|state| *state.get_ref()).unwrap_or_default() })
    }

    fn stack(&self, stack: Name, table: &ServiceTable, span: std::ops::Range<usize>) -> Result<Service, HostError> {
        let otherwise = "write `replicas = 1`, or declare the other as a service of its own";
        self.refuse(table.status.as_ref(), "a stack has no HTTP status", otherwise)?;
        self.refuse(table.state.as_ref(), "a stack has no state", otherwise)?;
        let Some(replicas) = &table.replicas else {
            let remedy =
                "add `replicas = …`, the tasks of all its services together, as `docker stack services` counts them";
            return Err(self.document.error(
                span,
                format!("how much of the stack `{stack}` must run is not said"),
                remedy,
            ));
        };
        if *replicas.get_ref() == 0 {
            let remedy = "write how many tasks its services have together, or leave the service out";
            return Err(self.document.error(replicas.span(), "a stack of which nothing runs", remedy));
        }
        Ok(Service::Stack { stack, replicas: *replicas.get_ref() })
    }

    /// Refuses a key that says nothing of this kind of service.
    fn refuse<T>(&self, key: Option<&Spanned<T>>, problem: &str, remedy: &str) -> Result<(), HostError> {
        key.map_or(Ok(()), |key| Err(self.document.error(key.span(), problem, remedy)))
    }

    fn status(&self, written: Option<&Spanned<u16>>) -> Result<u16, HostError> {
        let Some(written) = written else { return Ok(200) };
        let status = *written.get_ref();
        if (200..=599).contains(&status) {
            return Ok(status);
        }
        Err(self.document.error(
            written.span(),
            format!("{status} is no status that a request ends with"),
            "write a status between 200 and 599",
        ))
    }

    fn service_url(&self, written: &Spanned<String>) -> Result<Url, HostError> {
        let refused = |problem: &str| {
            let remedy = "write a URL that anybody may ask for, for instance \"https://ci.example.org/\"";
            self.document.error(written.span(), problem, remedy)
        };
        let url = Url::parse(written.get_ref()).map_err(|error| refused(&format!("this is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refused("this is neither an http: nor an https: URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("there is a credential in the URL"));
        }
        Ok(url)
    }
}
