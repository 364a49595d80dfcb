#!/bin/bash
# Makes the certificates of the fixtures anew: public material only, the keys are thrown away.
# The hash and the time in src/fixtures/certificates.rs must be changed along with them; this prints them.
set -euo pipefail
cd "$(dirname "$0")"
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$keys/$1.key"; }

# issue NAME KEY ISSUER SERIAL SUBJECT EXTENSIONS
issue() {
    printf '%s\n' "$6" >"$keys/ext"
    openssl req -new -key "$keys/$2.key" -subj "$5" -out "$keys/csr"
    openssl x509 -req -in "$keys/csr" -days 10950 -set_serial "$4" -extfile "$keys/ext" -out "$keys/$1.pem" \
        $(if [ "$3" = self ]; then echo "-signkey $keys/$2.key"; else echo "-CA $keys/$3.pem -CAkey $keys/$3.key"; fi)
    openssl x509 -in "$keys/$1.pem" -outform der | od -An -v -tx1 | tr -d ' \n' >"$1.der.hex"
}

names=$'basicConstraints=CA:FALSE\nsubjectAltName=DNS:ci.example.test,DNS:*.ci.example.test'
key root; key intermediate; key leaf
issue root root self 1 "/CN=Example Root" $'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign'
issue intermediate intermediate root 2 "/CN=Example Intermediate" $'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign'
issue leaf leaf intermediate 3 "/CN=ci.example.test" "$names"
issue stale leaf intermediate 4 "/CN=ci.example.test" "$names"
issue common-name leaf intermediate 5 "/CN=ci.example.test" "basicConstraints=CA:FALSE"

printf 'leaf SPKI: '
openssl x509 -in "$keys/leaf.pem" -noout -pubkey | openssl pkey -pubin -outform der | sha256sum
printf 'leaf notAfter: '
date -d "$(openssl x509 -in "$keys/leaf.pem" -noout -enddate | cut -d= -f2)" +%s
