package fleet

import (
	"cmp"
	"context"
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

// findRoutes finds the route to each host, before any is contacted, and sets the hosts' user
// and port to those of ssh_config where these apply. A mistake in the SSH
// configuration is a usage error.
func (f *Fleet) findRoutes(ctx context.Context, hosts []inventory.Host) error {
	resolver := sshconfig.New(f.caller.SSH)
	routes, errs := make([]remote.Target, len(hosts)), make([]error, len(hosts))
	var group errgroup.Group
	group.SetLimit(sshconfig.DefaultParallel)
	for i, h := range hosts {
		group.Go(func() error {
			route, err := resolver.Route(ctx, queryOf(h), h.Jump)
			if errs[i] = err; err == nil {
				routes[i] = targetOf(h, route)
			}
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return interrupted("nothing was contacted")
	}
	f.routes = make(map[string]*remote.Target, len(hosts))
	for i, h := range hosts {
		if errs[i] != nil {
			return routeProblem(h, errs[i])
		}
		f.routes[h.Name] = &routes[i]
		hosts[i].User, hosts[i].Port = routes[i].User, portOf(routes[i])
	}
	return checkDistinct(routes)
}

// checkDistinct returns an error if ssh_config leads two hosts to one machine. The
// inventory's own addresses were compared when it was read.
func checkDistinct(routes []remote.Target) error {
	first := make(map[string]string, len(routes))
	for _, route := range routes {
		end := endOf(route)
		if name, twice := first[end]; twice {
			return usage(fmt.Sprintf("host %s is host %s under another name: ssh_config leads both to %s", route.Name, name, net.JoinHostPort(route.Address, strconv.Itoa(portOf(route)))),
				"remove one of them from the inventory; see: ssh -G ADDRESS")
		}
		first[end] = route.Name
	}
	return nil
}

// endOf returns a key of the machine at the end of a route, and of the route:
// targets with equal keys are one machine. The user who logs in does not count.
func endOf(t remote.Target) string {
	var b strings.Builder
	for _, hop := range t.Via {
		fmt.Fprintf(&b, "%q %q ", hop.User, endOf(hop))
	}
	fmt.Fprintf(&b, "%q %q %d", t.ProxyCommand, inventory.CanonicalAddress(t.Address), portOf(t))
	return b.String()
}

func portOf(t remote.Target) int { return cmp.Or(t.Port, remote.DefaultPort) }

// routeProblem returns the usage error of a host whose route was not found.
func routeProblem(h inventory.Host, err error) error {
	message, hint := err.Error(), ""
	if p := problem.As(err); p != nil {
		hint = p.Hint
	}
	return usage(fmt.Sprintf("the SSH configuration for host %s: %s", h.Name, message), hint)
}

// queryOf returns the query for the ssh_config of a host's address. The settings that the
// inventory gives win, as if they were on ssh's command line.
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

// targetOf joins the settings of the inventory and of ssh_config; the last element of route
// is the host itself.
func targetOf(h inventory.Host, route []sshconfig.Host) remote.Target {
	own := route[len(route)-1]
	t := commonTarget(h, own)
	t.Name = h.Name
	if h.Given.IdentityFiles {
		t.IdentityFiles, t.IdentitiesOnly = h.IdentityFiles, len(h.IdentityFiles) > 0
		if t.IdentitiesOnly { // no others are tried
			t.CertificateFiles = nil
		}
	}
	if h.Given.KnownHosts || t.KnownHosts == "" && h.SSHConfig == sshconfig.None {
		t.KnownHosts, t.KnownHostsFiles = h.KnownHosts, nil
	}
	if h.Given.ConnectTimeout {
		t.ConnectTimeout = h.ConnectTimeout
	}
	for _, hop := range route[:len(route)-1] {
		t.Via = append(t.Via, jumpTarget(h, hop))
	}
	return t
}

// jumpTarget returns a jump host of h. As with ssh -J, the settings of h do not apply to it;
// but if ssh_config names no key for it, those of h are tried, and the known_hosts file of
// the inventory is read first.
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

// commonTarget returns the settings of ssh_config, completed with the inventory's
// defaults.
func commonTarget(h inventory.Host, s sshconfig.Host) remote.Target {
	t := remote.Target{Name: s.Alias, Address: s.HostName, Port: s.Port, User: cmp.Or(s.User, h.User),
		IdentityFiles: s.IdentityFiles, CertificateFiles: s.CertificateFiles, IdentitiesOnly: s.IdentitiesOnly, AgentSocket: s.IdentityAgent,
		HostKeyAlias: s.HostKeyAlias, CheckHostIP: s.CheckHostIP, ConnectTimeout: cmp.Or(s.ConnectTimeout, h.ConnectTimeout), ProxyCommand: s.ProxyCommand}
	if len(s.KnownHosts) > 0 {
		t.KnownHosts = s.KnownHosts[0]
		t.KnownHostsFiles = s.KnownHosts[1:]
	}
	t.KnownHostsFiles = slices.Concat(t.KnownHostsFiles, s.SystemKnownHosts)
	return t
}
