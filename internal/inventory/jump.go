package inventory

import (
	"net"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// maxJumps bounds a chain of jump hosts: longer is a slip.
const maxJumps = 8

// Hop is one jump host.
type Hop struct {
	Host string // an alias of ssh_config, a DNS name or an IP address
	User string // "": as ssh_config says
	Port int    // TCP port; 0: as ssh_config says
}

// jump reads one jump host or a list of them; none: no jump host, whatever
// ssh_config says.
func (v value) jump(to *[]Hop) {
	nodes := v.node.Content
	switch {
	case isText(none)(v.node):
		*to = nil
		return
	case v.node.Kind == yaml.ScalarNode:
		nodes = []*yaml.Node{v.node}
	case v.node.Kind != yaml.SequenceNode || len(nodes) == 0:
		v.fail("write none to connect directly", "%s must be [user@]host[:port] or a list of them", v.key)
		return
	case len(nodes) > maxJumps:
		v.fail("", "%s has more than %d jump hosts", v.key, maxJumps)
		return
	}
	hops := make([]Hop, len(nodes))
	ok := true
	for i, n := range nodes {
		item := v
		item.node = n
		ok = item.hop(&hops[i]) && ok
	}
	if ok {
		*to = hops
	}
}

// hop reads [user@]host[:port] as ssh -J does. A port stands behind brackets
// where the host is an IPv6 address.
func (v value) hop(to *Hop) bool {
	s, ok := v.text()
	if !ok {
		return false
	}
	hop := Hop{Host: s}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		hop.User, hop.Host = s[:at], s[at+1:]
		if hop.User == "" || hop.User[0] == '-' || strings.ContainsFunc(hop.User, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
			v.fail("", "%s: the user before @ is not a login name", v.key)
			return false
		}
	}
	if host, port, err := net.SplitHostPort(hop.Host); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || !decimal.MatchString(port) || n < 1 || n > 65535 {
			v.fail("", "%s: the port behind the colon must be a whole number from 1 to 65535", v.key)
			return false
		}
		hop.Host, hop.Port = host, n
	} else if strings.HasPrefix(hop.Host, "[") && strings.HasSuffix(hop.Host, "]") {
		hop.Host = hop.Host[1 : len(hop.Host)-1]
	}
	if problem, _ := addressProblem(hop.Host); problem != "" {
		v.fail("write [user@]host[:port]", "%s: host %s %s", v.key, quote(hop.Host), problem)
		return false
	}
	*to = hop
	return true
}

// String gives the hop as it is written.
func (h Hop) String() string {
	s := h.Host
	switch {
	case h.Port != 0:
		s = net.JoinHostPort(h.Host, strconv.Itoa(h.Port))
	case strings.Contains(s, ":"):
		s = "[" + s + "]"
	}
	if h.User != "" {
		s = h.User + "@" + s
	}
	return s
}
