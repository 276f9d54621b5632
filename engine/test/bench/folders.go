//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/test/bench/table"
)

// The folders of the programs, beside those of the sites.
const (
	workstation = "workstation"
	alone       = "alone" // a workstation that reaches the hosts
	control     = "control"
)

const sitePrefix = "site-"

func site(i int) string { return fmt.Sprintf("%s%03d", sitePrefix, i+1) }

// first returns the first host of a site.
func (o options) first(site int) int { return site * o.hosts / o.sites }

// writeFolders writes what each program has on its own machine: only the workers of the sites, and the
// workstation that does without them, can log in to hosts.
func (b *bench) writeFolders(labDir, port string, key ssh.Signer) error {
	login, err := os.ReadFile(filepath.Join(labDir, "id_ed25519"))
	if err != nil {
		return err
	}
	certificate, err := os.ReadFile(filepath.Join(labDir, "certs", lab.NewCertificate))
	if err != nil {
		return err
	}
	ring, err := codec.NewKey("fleet")
	if err != nil {
		return err
	}
	all := table.KnownHosts(0, b.hosts, port, key)
	files := map[string]string{workstation + "/payload-keys": ring, workstation + "/known_hosts": all,
		alone + "/known_hosts": all, alone + "/id_ed25519": string(login)}
	folders := []string{workstation, alone}
	for i := range b.sites {
		name := site(i)
		line, err := codec.NewKey("site-" + name)
		if err != nil {
			return err
		}
		ring += line
		folders = append(folders, name)
		files[name+"/payload-keys"], files[name+"/id_ed25519"] = line, string(login)
		files[name+"/known_hosts"] = table.KnownHosts(b.first(i), b.first(i+1), port, key)
	}
	files[control+"/payload-keys"] = ring
	inventory := b.inventory(port)
	for _, folder := range folders {
		files[folder+"/inventory.yaml"], files[folder+"/new.p12.b64"] = inventory, string(certificate)
	}
	return b.write(files)
}

func (b *bench) write(files map[string]string) error {
	var errs []error
	for name, text := range files {
		path := filepath.Join(b.dir, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
	}
	return errors.Join(errs...)
}

// inventory returns the inventory of all programs. Its files are named relative to it. All programs and
// hosts share one machine, so a handshake may take long.
func (b *bench) inventory(port string) string {
	var out strings.Builder
	fmt.Fprintf(&out, `version: 1
defaults:
  ssh_config: none
  user: %s
  port: %s
  identity_file: id_ed25519
  known_hosts: known_hosts
  certificate: new.p12.b64
  verify: none
  connect_timeout: 2m
  health: {window: 0s}
rollout: {parallel: %d, connect_rate: 10000, canary: 0, batch: [%s], soak: 0s}
groups:
`, lab.LoginUser, port, b.parallel, b.batch)
	for i := range b.sites {
		fmt.Fprintf(&out, "  %s:\n    labels: {site: %[1]s}\n    hosts:\n", site(i))
		for n := b.first(i); n < b.first(i+1); n++ {
			fmt.Fprintf(&out, "      vm-%06d: {address: %s}\n", n+1, table.Address(n))
		}
	}
	return out.String()
}

// discard removes what was staged on the only host of the lab: nothing. A worker does so before it
// stages, so the table needs the answer, which a run without an engine does not give.
func discard(ctx context.Context, path string) error {
	caller := fleet.Caller{Owner: "bench@site", User: "nobody", Getenv: func(string) string { return "" },
		Say: func(string) {}, Event: func(rollout.Event) {}, Contact: func(int) {}}
	inv, err := inventory.Load(path, inventory.Env{})
	if err != nil {
		return err
	}
	h := inv.Hosts[0]
	s, err := fleet.OpenSite(ctx, caller, path, h.Site())
	if err != nil {
		return err
	}
	defer s.Close()
	run := host.Run{ID: "20261123-084512-K3F9", Owner: caller.Owner}
	hosts, done, err := s.Run(run.ID)
	if err != nil {
		return err
	}
	defer done()
	vm, err := hosts.Dial(ctx, h, run)
	if err != nil {
		return err
	}
	return errors.Join(vm.Discard(ctx), vm.Close())
}
