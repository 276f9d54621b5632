//go:build linux

package fleet

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// writeIdentity creates the login key for all hosts, and returns its line
// for authorized_keys.
func writeIdentity(path string) ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return writeKey(path, key)
}

// writeHostKeys creates the host's keys. Like real hosts it has an ECDSA key too,
// so that a client that ignores the key types in known_hosts requests the wrong key
// and fails.
func (h *Host) writeHostKeys() error {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	line, err := writeKey(h.path("etc/ssh/ssh_host_ed25519_key"), edwards)
	if err != nil {
		return err
	}
	h.hostKey = line
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	_, err = writeKey(h.path("etc/ssh/ssh_host_ecdsa_key"), curve)
	return err
}

// writeKey writes a private key in OpenSSH's format and its public half as .pub,
// and returns the public half without a line end.
func writeKey(path string, key crypto.Signer) ([]byte, error) {
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	line := bytes.TrimSpace(ssh.MarshalAuthorizedKey(public))
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return line, os.WriteFile(path+".pub", append(line, '\n'), 0o644)
}

// writeKnownHosts writes every host's ed25519 key with its address.
func (f *Fleet) writeKnownHosts() error {
	var lines bytes.Buffer
	for _, h := range f.Hosts {
		lines.WriteString(h.Addr + " ")
		lines.Write(h.hostKey)
		lines.WriteByte('\n')
	}
	return os.WriteFile(filepath.Join(f.Dir, "known_hosts"), lines.Bytes(), 0o644)
}
