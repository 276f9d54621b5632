package lab

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// writeInventory writes the inventory and the known_hosts file that it names.
func (f *Fleet) writeInventory() error {
	if err := os.WriteFile(f.InventoryFile(), []byte(f.inventory()), 0o644); err != nil {
		return err
	}
	var lines strings.Builder
	for _, m := range f.machines {
		lines.WriteString(knownhosts.Line([]string{m.Addr}, m.hostKey.PublicKey()) + "\n")
	}
	return os.WriteFile(f.KnownHostsFile(), []byte(lines.String()), 0o644)
}

func (f *Fleet) inventory() string {
	var b strings.Builder
	verify, azure := "none", ""
	if f.opts.Azure != "" {
		verify, azure = "entra", "azure: "+f.opts.Azure+"\n"
	}
	fmt.Fprintf(&b, `version: 1
defaults:
  ssh_config: none
  user: %s
  identity_file: %s
  known_hosts: %s
  certificate: certs/%s
  verify: %s
  health: {window: %s, timeout: 10s}
%srollout: {parallel: %d, max_failures: %d}
groups:
`, LoginUser, f.IdentityFile(), f.KnownHostsFile(), NewCertificate, verify, f.opts.Window, azure, f.opts.Parallel, f.opts.MaxFailures)
	var order []string
	groups := map[string][]*Machine{}
	for _, m := range f.machines {
		group := f.opts.Group(m.Name)
		if groups[group] == nil {
			order = append(order, group)
		}
		groups[group] = append(groups[group], m)
	}
	for _, group := range order {
		fmt.Fprintf(&b, "  %q:\n    hosts:\n", group)
		for _, m := range groups[group] {
			fmt.Fprintf(&b, "      %q: {address: %s, port: %d, labels: {site: %q}}\n", m.Name, loopback, m.port(), group)
		}
	}
	return b.String()
}

// newHostKey creates the key of one machine's SSH server.
func newHostKey() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}
