#!/bin/sh
# Makes the files of this folder, which are seeds of fuzz targets, with OpenSSH and openssl.
set -eu
cd "$(dirname "$0")"
rm -f -- ed25519* ecdsa* locked* legacy* rsa* known_hosts*
ssh-keygen -q -t ed25519 -N '' -C seed -f ed25519
ssh-keygen -q -t ecdsa -N '' -C seed -f ecdsa
ssh-keygen -q -t ed25519 -N passphrase -C seed -f locked
ssh-keygen -q -t rsa -b 2048 -m PEM -N passphrase -C seed -f legacy
ssh-keygen -q -t rsa -b 2048 -m PKCS8 -N '' -C seed -f rsa
ssh-keygen -q -s ed25519 -I seed -h -n vm -V always:forever ecdsa.pub
key() { cut -d' ' -f1,2 "$1.pub"; }
{
	echo "vm,::1,*.example.net,!bad.example.net $(key ed25519) comment"
	echo "[vm]:2222 $(key ecdsa)"
	echo "@cert-authority * $(key ed25519)"
	echo "@revoked vm $(key rsa)"
} >known_hosts
cp known_hosts known_hosts.hashed
ssh-keygen -q -H -f known_hosts.hashed
rm -f -- *.old locked.pub legacy.pub rsa.pub
