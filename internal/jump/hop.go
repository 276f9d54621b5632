// Package jump parses and formats the name of a jump host, [user@]host[:port], as in
// `ssh -J`, ProxyJump and jump: of an inventory.
package jump

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"unicode"
)

// Hop is one jump host.
type Hop struct {
	Host string // an alias of ssh_config, a DNS name or an IP address
	User string // "": from ssh_config
	Port int    // TCP port; 0: from ssh_config
}

// Parse parses [user@]host[:port]; an IPv6 address with a port is in brackets. The
// caller must check the host, which may be "". The error names the invalid part and
// does not quote s.
func Parse(s string) (Hop, error) {
	hop := Hop{Host: s}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		hop.User, hop.Host = s[:at], s[at+1:]
		if hop.User == "" || hop.User[0] == '-' || strings.ContainsFunc(hop.User, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
			return Hop{}, errors.New("the user before @ is not a login name")
		}
	}
	if host, port, err := net.SplitHostPort(hop.Host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Hop{}, errors.New("the port after the colon must be a whole number from 1 to 65535")
		}
		hop.Host, hop.Port = host, int(n)
	} else if strings.HasPrefix(hop.Host, "[") && strings.HasSuffix(hop.Host, "]") {
		hop.Host = hop.Host[1 : len(hop.Host)-1]
	}
	return hop, nil
}

// String returns the hop in the form that Parse accepts.
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
