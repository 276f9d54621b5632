package sshconfig

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Hop is one jump host as ProxyJump names it (ssh_config(5)).
type Hop struct {
	Host string // an alias of ssh_config, a name or an address
	User string // "": as ssh_config says
	Port int    // 0: as ssh_config says
}

// parseHops reads the value of ProxyJump: [user@]host[:port] or an ssh URI,
// several separated by commas.
func parseHops(s string) ([]Hop, error) {
	if s == "" || s == None {
		return nil, nil
	}
	var hops []Hop
	for part := range strings.SplitSeq(s, ",") {
		hop, ok := parseHop(strings.TrimSpace(part))
		if !ok {
			return nil, &problem.Error{Class: problem.Usage, Message: "ProxyJump is not a list of [user@]host[:port]: " + quote(s)}
		}
		hops = append(hops, hop)
	}
	return hops, nil
}

func parseHop(s string) (Hop, bool) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "ssh://"), "/")
	var hop Hop
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		hop.User, s = s[:at], s[at+1:]
		if hop.User == "" || hop.User[0] == '-' {
			return hop, false
		}
	}
	hop.Host = s
	if host, port, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return hop, false
		}
		hop.Host, hop.Port = host, n
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		hop.Host = s[1 : len(s)-1]
	}
	return hop, hop.Host != "" && hop.Host[0] != '-' && !strings.ContainsAny(hop.Host, " \t/[]@,")
}

// atHop says at which jump host a route could not be resolved; the one that is
// farthest from the host is enough.
func atHop(hop Hop, err error) error {
	var e *problem.Error
	const mark = "jump host "
	if !errors.As(err, &e) || strings.HasPrefix(e.Message, mark) {
		return err
	}
	return &problem.Error{Class: problem.Usage, Message: mark + quote(hop.Host) + ": " + e.Message, Hint: e.Hint}
}
