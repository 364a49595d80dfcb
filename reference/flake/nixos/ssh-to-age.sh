#!/bin/bash
# The age identity of an SSH key, by the rule of ssh-to-age: the first half of SHA-512 of the ed25519 seed, clamped (RFC
# 8032, section 5.1.5), in bech32 (BIP 173). No part of it is in an argument, an environment or a file.
# usage: ssh-to-age KEY
set -euo pipefail

fail() { echo "ssh-to-age: $*" >&2; exit 1; }

# In OpenSSH's format (PROTOCOL.key) a key without a passphrase has the seed always at the same place.
number() { printf '%08x' "$1"; }
magic=6f70656e7373682d6b65792d763100 none=$(number 4)6e6f6e65 kind=$(number 11)7373682d65643235353139
key=$(sed '/^-/d' "$1" | base64 -d | od -An -v -tx1 | tr -d ' \n')
[[ $key == "$magic$none$none$(number 0)$(number 1)$(number 51)$kind"* ]] ||
  fail "'$1' is no ed25519 key without a passphrase"
seed=${key:322:64}

hash=$(printf "${seed//??/\\x&}" | sha512sum)
bytes=()
for (( i = 0; i < 64; i += 2 )); do bytes+=($(( 16#${hash:i:2} ))); done
(( bytes[0] &= 248, bytes[31] &= 127, bytes[31] |= 64 ))

# Groups of five bits, the last filled with zeros.
words=() pending=0 bits=0
for byte in "${bytes[@]}" 0; do
  (( pending = pending << 8 | byte, bits += 8 ))
  for (( ; bits >= 5 && ${#words[@]} < 52; bits -= 5 )); do words+=($(( pending >> (bits - 5) & 31 ))); done
  (( pending &= (1 << bits) - 1 )) || true
done

prefix=age-secret-key- high=() low=()
for (( i = 0; i < ${#prefix}; i++ )); do
  printf -v code %d "'${prefix:i:1}"
  high+=($(( code >> 5 ))) low+=($(( code & 31 )))
done
check=1 generator=(0x3b6a57b2 0x26508e6d 0x1ea119fa 0x3d4233dd 0x2a1462b3)
for word in "${high[@]}" 0 "${low[@]}" "${words[@]}" 0 0 0 0 0 0; do
  (( top = check >> 25, check = (check & 0x1ffffff) << 5 ^ word )) || true
  for i in {0..4}; do (( check ^= top >> i & 1 ? generator[i] : 0 )) || true; done
done
for shift in 25 20 15 10 5 0; do words+=($(( (check ^ 1) >> shift & 31 ))); done

letters=QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L
printf %s "${prefix^^}1"
for word in "${words[@]}"; do printf %s "${letters:word:1}"; done
echo
