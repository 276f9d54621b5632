package inventory

import (
	"net/netip"
	"strings"

	"gopkg.in/yaml.v3"
)

// route is how a machine is reached, as far as the inventory itself says: two
// hosts with one route are one machine under two names. Where ssh_config has a
// say, what is not given is empty: only hosts for which it says the same count.
type route struct {
	sshConfig, jump, address string
	port                     int // 0: as ssh_config says
}

// taken is the host that has a route already.
type taken struct {
	name string
	node *yaml.Node // its address
}

// CanonicalAddress is the one spelling for all spellings of an address: lower
// case, without a final dot, an IP address as RFC 5952 writes it.
func CanonicalAddress(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(address, "."))
}

// routeOf is the route of the entry's hosts, but for their addresses.
func (e *entry) routeOf() route {
	alone := e.SSHConfig == none // ssh_config has no say
	to := route{sshConfig: e.SSHConfig}
	if e.Given.Port || alone {
		to.port = e.Port
	}
	if e.Given.Jump || alone {
		to.jump = none
	}
	for _, hop := range e.Jump {
		hop.Host = CanonicalAddress(hop.Host)
		if hop.Port == 0 && alone {
			hop.Port = 22
		}
		to.jump += " " + hop.String()
	}
	return to
}

// checkRoutes refuses hosts that are reached as another one is, and notes the
// others' routes. It reports that once for the entry.
func (r *reader) checkRoutes(e entry, n int) {
	to, told := e.routeOf(), false
	for i := range n {
		to.address = CanonicalAddress(e.addr.at(i))
		first, twice := r.routes[to]
		switch {
		case !twice:
			r.routes[to] = taken{e.names.at(i), e.addr.node}
		case !told:
			told = true
			r.fail(e.addr.node, `leave one of them out; where it is another machine in another network, name the way there: "jump"`,
				"host %s has the address and port of host %s at %s", quote(e.names.at(i)), quote(first.name), r.at(first.node))
		}
	}
}
