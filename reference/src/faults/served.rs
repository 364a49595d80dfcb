//! Faults in what is committed that show in what the host serves.

use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::{Fault, Layer};
use crate::authority::Authority;

const NGINX: &str = "hosts/cc-ci/nginx.conf";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "intermediate-missing",
        layer: Layer::Switch,
        criterion: &["tls.chain"],
        summary: "the certificate in git, and so the server, lacks the intermediate",
        how: |draft| {
            let leaf = draft.bare_leaf()?;
            draft.set_certificate(&leaf);
            Ok(())
        },
    },
    Fault {
        name: "intermediate-foreign",
        layer: Layer::Switch,
        criterion: &["tls.chain"],
        summary: "the certificate in git, and so the server, has the intermediate of another authority",
        how: |draft| {
            let chain = draft.bare_leaf()? + &Authority::generate()?.intermediate_pem();
            draft.set_certificate(&chain);
            Ok(())
        },
    },
    Fault {
        name: "leaf-about-to-expire",
        layer: Layer::Switch,
        criterion: &["tls.validity"],
        summary: "the leaf in git, and so the one that is served, is valid for less than the declared days",
        how: |draft| {
            let chain = draft.expiring_chain()?;
            draft.set_certificate(&chain);
            Ok(())
        },
    },
    Fault {
        name: "leaf-expired",
        layer: Layer::Switch,
        criterion: &["tls.validity"],
        summary: "the leaf in git, and so the one that is served, has expired",
        how: |draft| {
            let chain = draft.expired_chain()?;
            draft.set_certificate(&chain);
            Ok(())
        },
    },
    Fault {
        name: "old-protocols-spoken",
        layer: Layer::Switch,
        criterion: &["tls.protocols"],
        summary: "the server still speaks TLS 1.0 and 1.1",
        how: |draft| {
            // Their signatures are below OpenSSL's own least security level.
            let allowed = "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;\n    ssl_ciphers DEFAULT:@SECLEVEL=0;";
            draft.edit(NGINX, "ssl_protocols TLSv1.2 TLSv1.3;", allowed)
        },
    },
    Fault {
        name: "leaf-lacks-names",
        layer: Layer::Switch,
        criterion: &["tls.names"],
        summary: "the leaf in git names one host only, not the wildcard",
        how: |draft| {
            let chain = draft.chain(&["ci.example.test"], 0)?;
            draft.set_certificate(&chain);
            Ok(())
        },
    },
    Fault {
        name: "leaf-lacks-apex",
        layer: Layer::Switch,
        criterion: &["tls.names"],
        summary: "the leaf in git names the wildcard only, which does not cover the domain itself",
        how: |draft| {
            let chain = draft.chain(&["*.ci.example.test"], 0)?;
            draft.set_certificate(&chain);
            Ok(())
        },
    },
    Fault {
        name: "key-of-another-leaf",
        layer: Layer::Switch,
        criterion: &[
            "tls.key-matches",
            "convergence.one-switch",
            "convergence.no-failures",
            "convergence.running",
            "services.units",
        ],
        summary: "the private key in git belongs to another leaf, so the server does not start",
        how: |draft| {
            let other = Zeroizing::new(KeyPair::generate()?.serialize_pem());
            draft.secrets.insert("wildcard_key".into(), other);
            Ok(())
        },
    },
    Fault {
        name: "plain-text-listener",
        layer: Layer::Switch,
        criterion: &["coverage.complete"],
        summary: "the server listens on a second port, without TLS, that the host definition does not name",
        how: |draft| {
            let first = "    server {\n        listen 443 ssl default_server;";
            let plain = "    server {\n        listen 8080;\n        return 200 \"ok\\n\";\n    }\n\n";
            draft.edit(NGINX, first, &format!("{plain}{first}"))
        },
    },
    Fault {
        name: "redirect-for-page",
        layer: Layer::Switch,
        criterion: &["services.http"],
        summary: "a declared URL redirects to another host instead of answering",
        how: |draft| draft.edit(NGINX, "return 200 \"drone is up\\n\";", "return 302 https://login.example.test/;"),
    },
];
