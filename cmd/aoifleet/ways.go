package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/sshconfig"
)

// findWays works out how each host is reached, before anything is contacted: a
// mistake in the SSH configuration is one in usage.
func (f *fleet) findWays(hosts []inventory.Host) error {
	a := f.app
	resolver := sshconfig.New(sshconfig.Options{Program: a.ssh, Home: a.sshHome, HomeGuessed: a.sshHomeGuessed, User: a.user,
		HostName: a.hostname, Getenv: a.getenv})
	ways, errs := make([]remote.Target, len(hosts)), make([]error, len(hosts))
	var group errgroup.Group
	group.SetLimit(sshconfig.DefaultParallel)
	for i, h := range hosts {
		group.Go(func() error {
			way, err := resolver.Route(a.ctx, queryOf(h), h.Jump)
			if errs[i] = err; err == nil {
				ways[i] = targetOf(h, way)
			}
			return nil
		})
	}
	_ = group.Wait()
	if a.signals.got() != nil {
		return interrupted("interrupted: nothing was contacted")
	}
	f.ways = make(map[string]*remote.Target, len(hosts))
	for i, h := range hosts {
		if errs[i] != nil {
			return wayProblem(h, errs[i])
		}
		f.ways[h.Name] = &ways[i]
	}
	return oneWayEach(ways)
}

// oneWayEach refuses a machine under two names where ssh_config leads both to it;
// what the inventory itself says has been compared when it was read.
func oneWayEach(ways []remote.Target) error {
	first := make(map[string]string, len(ways))
	for _, way := range ways {
		end := endOf(way)
		if name, twice := first[end]; twice {
			return usage(fmt.Sprintf("host %s is host %s under another name: ssh_config leads both to %s", way.Name, name, net.JoinHostPort(way.Address, strconv.Itoa(portOf(way)))),
				"leave one of them out of the inventory; see: ssh -G ADDRESS")
		}
		first[end] = way.Name
	}
	return nil
}

// endOf is the machine at the end of a way, and the way: targets for which it is
// equal are one machine. Who logs in there does not count.
func endOf(t remote.Target) string {
	var b strings.Builder
	for _, hop := range t.Via {
		fmt.Fprintf(&b, "%q %q ", hop.User, endOf(hop))
	}
	fmt.Fprintf(&b, "%q %q %d", t.ProxyCommand, inventory.CanonicalAddress(t.Address), portOf(t))
	return b.String()
}

func portOf(t remote.Target) int { return cmp.Or(t.Port, remote.DefaultPort) }

func wayProblem(h inventory.Host, err error) error {
	message, hint := err.Error(), ""
	if p := problem.As(err); p != nil {
		hint = p.Hint
	}
	return usage(fmt.Sprintf("the SSH configuration for host %s: %s", h.Name, message), hint)
}

// queryOf asks what ssh would do with the host's address, on a command line that
// says what the inventory says: it wins.
func queryOf(h inventory.Host) sshconfig.Query {
	q := sshconfig.Query{Host: h.Address, File: h.SSHConfig, Direct: h.Given.Jump}
	if h.Given.User {
		q.User = h.User
	}
	if h.Given.Port {
		q.Port = h.Port
	}
	return q
}

// targetOf joins what the inventory and ssh_config say; the last of the way is
// the host itself.
func targetOf(h inventory.Host, way []sshconfig.Host) remote.Target {
	own := way[len(way)-1]
	t := commonTarget(h, own)
	t.Name = h.Name
	if h.Given.IdentityFiles {
		t.IdentityFiles, t.IdentitiesOnly = h.IdentityFiles, len(h.IdentityFiles) > 0
		if t.IdentitiesOnly { // these and no other
			t.CertificateFiles = nil
		}
	}
	if h.Given.KnownHosts || t.KnownHosts == "" && h.SSHConfig == sshconfig.None {
		t.KnownHosts, t.KnownHostsFiles = h.KnownHosts, nil
	}
	if h.Given.ConnectTimeout {
		t.ConnectTimeout = h.ConnectTimeout
	}
	for _, hop := range way[:len(way)-1] {
		t.Via = append(t.Via, jumpTarget(h, hop))
	}
	return t
}

// jumpTarget is a jump host of h. As with ssh -J, the settings of h are not meant
// for it; but where ssh_config names no key for it, those of h are tried, and
// the known_hosts file of the inventory is looked into first.
func jumpTarget(h inventory.Host, hop sshconfig.Host) remote.Target {
	t := commonTarget(h, hop)
	if h.Given.IdentityFiles && !hop.IdentityGiven {
		t.IdentityFiles = slices.Concat(h.IdentityFiles, hop.IdentityFiles)
		t.IdentitiesOnly = t.IdentitiesOnly || h.SSHConfig == sshconfig.None && len(h.IdentityFiles) > 0
	}
	if h.Given.KnownHosts || h.SSHConfig == sshconfig.None {
		t.KnownHosts, t.KnownHostsFiles = h.KnownHosts, slices.Concat(hop.KnownHosts, hop.SystemKnownHosts)
	}
	return t
}

// commonTarget is what ssh_config says, completed with the inventory's defaults.
func commonTarget(h inventory.Host, s sshconfig.Host) remote.Target {
	t := remote.Target{Name: s.Alias, Address: s.HostName, Port: s.Port, User: cmp.Or(s.User, h.User),
		IdentityFiles: s.IdentityFiles, CertificateFiles: s.CertificateFiles, IdentitiesOnly: s.IdentitiesOnly, AgentSocket: s.IdentityAgent,
		HostKeyAlias: s.HostKeyAlias, ConnectTimeout: cmp.Or(s.ConnectTimeout, h.ConnectTimeout), ProxyCommand: s.ProxyCommand}
	if len(s.KnownHosts) > 0 {
		t.KnownHosts = s.KnownHosts[0]
		t.KnownHostsFiles = s.KnownHosts[1:]
	}
	t.KnownHostsFiles = slices.Concat(t.KnownHostsFiles, s.SystemKnownHosts)
	return t
}
