package inventory

import (
	"net/netip"
	"strings"
	"unique"

	"gopkg.in/yaml.v3"
)

// route is the route to a machine according to the inventory: two hosts with the same
// route are one machine under two names. If ssh_config applies, a setting that is not
// given is empty, so that only hosts with the same settings are compared.
type route struct {
	sshConfig, jump, address string
	port                     int // 0: from ssh_config
}

// taken is the first host with a route.
type taken struct {
	name string
	node *yaml.Node // its address
}

// CanonicalAddress returns the canonical spelling of an address: lower case, without a
// final dot, an IP address as in RFC 5952.
func CanonicalAddress(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(address, "."))
}

// routeOf returns the route of the entry's hosts without their addresses.
func (e *entry) routeOf() route {
	noConfig := e.SSHConfig == none
	to := route{sshConfig: e.SSHConfig}
	if e.Given.Port || noConfig {
		to.port = e.Port
	}
	if e.Given.Jump || noConfig {
		to.jump = none
	}
	for _, hop := range e.Jump {
		hop.Host = CanonicalAddress(hop.Host)
		if hop.Port == 0 && noConfig {
			hop.Port = 22
		}
		to.jump += " " + hop.String()
	}
	to.jump = unique.Make(to.jump).Value() // most hosts have the same
	return to
}

// checkRoutes reports, once per entry, a host with the route of another, and records the
// routes of the others.
func (r *reader) checkRoutes(e entry, n int) {
	to, reported := e.routeOf(), false
	for i := range n {
		to.address = CanonicalAddress(e.addr.at(i))
		first, twice := r.routes[to]
		switch {
		case !twice:
			r.routes[to] = taken{e.names.at(i), e.addr.node}
		case !reported:
			reported = true
			r.fail(e.addr.node, `remove one of them; if it is another machine in another network, set its "jump"`,
				"host %s has the address and port of host %s at %s", quote(e.names.at(i)), quote(first.name), r.at(first.node))
		}
	}
}
