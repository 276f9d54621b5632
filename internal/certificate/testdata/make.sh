#!/bin/sh
# Makes the throw-away certificates, keys and P12 files of the tests with the
# openssl of this machine (3.0 or later), into the directory $1. The keys
# protect nothing and are known to everybody.
#
#     sh make.sh DIRECTORY
#
# "openssl ca" makes the certificates: it alone takes a start and an end date
# in OpenSSL 3.0. All but "expired" and "future" are valid from 2020 to 2119.
set -eu

out=${1:?usage: make.sh DIRECTORY}
mkdir -p "$out"
cd "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

from=20200101000000Z
until=21191231235959Z

cat >"$work/ca.cnf" <<EOF
[ca]
default_ca = plain
[plain]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[root]
basicConstraints = critical,CA:true
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:false
subjectKeyIdentifier = hash
[req]
distinguished_name = name
[name]
EOF
: >"$work/index"

# rsa NAME BITS
rsa() { openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:$2" -out "$1.key" 2>/dev/null; }

# sign NAME KEY KIND FROM UNTIL [openssl ca options: by default self-signed]
sign() {
	name=$1 key=$2 kind=$3 start=$4 end=$5
	shift 5
	[ $# -gt 0 ] || set -- -selfsign -keyfile "$key.key"
	openssl req -new -config "$work/ca.cnf" -key "$key.key" -subj "/CN=$name.example" -out "$work/$name.csr"
	openssl ca -batch -notext -config "$work/ca.cnf" -extensions "$kind" -startdate "$start" -enddate "$end" \
		-in "$work/$name.csr" -out "$name.crt" "$@" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
}

# pack FILE NAME KEY [openssl pkcs12 options]
pack() {
	file=$1 name=$2 key=$3
	shift 3
	openssl pkcs12 -export -in "$name.crt" -inkey "$key.key" -passout pass: -out "$file.p12" "$@"
}

rsa agent 2048
rsa other 2048
rsa small 1024
rsa authority 2048
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.key
openssl genpkey -algorithm ED25519 -out ed25519.key

sign agent agent leaf $from $until
sign other other leaf $from $until
sign renewed agent leaf $from $until
sign small small leaf $from $until
sign ec ec leaf $from $until
sign ed25519 ed25519 leaf $from $until -selfsign -keyfile ed25519.key -md null
sign expired agent leaf $from 20210101000000Z
sign future agent leaf 21000101000000Z $until
sign root authority root $from $until
sign middle other root $from $until -cert root.crt -keyfile authority.key
sign issued agent leaf $from $until -cert middle.crt -keyfile other.key
cat middle.crt root.crt >chain.crt

# What every agent loads.
pack default agent agent
pack named agent agent -name "$(printf 'agent\nlocalKeyID: 00')"
pack chain issued agent -certfile chain.crt
pack aes128 agent agent -keypbe AES-128-CBC -certpbe AES-192-CBC
pack sha1-mac agent agent -macalg sha1
pack sha512-mac agent agent -macalg sha512
pack sha384-mac agent agent -macalg sha384
pack clear agent agent -keypbe NONE -certpbe NONE
pack rounds agent agent -iter 20000

# What is re-encoded.
pack legacy agent agent -legacy
pack 3des agent agent -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1
pack legacy-chain issued agent -legacy -certfile chain.crt
pack nomac agent agent -nomac
pack many-rounds agent agent -iter 1000001 -nomaciter -certpbe NONE
pack sum-rounds agent agent -iter 400000
pack clear-nomac agent agent -keypbe NONE -certpbe NONE -nomac

# What is refused.
pack passphrase agent agent -passout pass:secret
pack passphrase-legacy agent agent -passout pass:secret -legacy
pack passphrase-nomac agent agent -passout pass:secret -nomac -certpbe AES-256-CBC
pack passphrase-key-nomac agent agent -passout pass:secret -nomac -certpbe NONE
pack ec ec ec
pack ed25519 ed25519 ed25519
pack small small small
pack expired expired agent
pack future future agent
pack renewed agent agent -certfile renewed.crt
pack camellia agent agent -certpbe CAMELLIA-128-CBC
openssl pkcs12 -export -nokeys -in agent.crt -passout pass: -out cert-only.p12
openssl pkcs12 -export -nocerts -inkey agent.key -in agent.key -passout pass: -out key-only.p12 2>/dev/null

# PEM and DER for pack, and what a host prints.
cat agent.crt agent.key >pair.pem
openssl x509 -in agent.crt -outform DER -out agent.der
openssl pkey -in agent.key -outform DER -out agent-pkcs8.der
openssl rsa -traditional -in agent.key -out agent-pkcs1.key 2>/dev/null
openssl rsa -traditional -in agent.key -outform DER -out agent-pkcs1.der 2>/dev/null
openssl pkey -in agent.key -aes-256-cbc -passout pass:secret -out agent-locked.key
openssl rsa -traditional -in agent.key -aes128 -passout pass:secret -out agent-locked-pkcs1.key 2>/dev/null
openssl pkcs8 -topk8 -in agent.key -passout pass:secret -outform DER -out agent-locked.der
openssl req -new -config "$work/ca.cnf" -key agent.key -subj /CN=agent.example -out agent.csr
openssl crl2pkcs7 -nocrl -certfile chain.crt -out chain.p7b
openssl crl2pkcs7 -nocrl -certfile chain.crt -outform DER -out chain.p7c
for name in default named chain clear; do
	openssl pkcs12 -in $name.p12 -passin pass: -nokeys -out "$name.txt"
done
