// Package jump parses and formats the name of a jump host, [user@]host[:port] or an ssh
// URI, as in `ssh -J`, ProxyJump and jump: of an inventory.
package jump

import (
	"errors"
	"fmt"
	"net"
	"net/url"
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

// Parse parses [user@]host[:port] or ssh://[user@]host[:port]; an IPv6 address with a port
// is in brackets. The caller must check the host, which may be "". The error names the
// invalid part and does not quote s.
func Parse(s string) (Hop, error) {
	var hop Hop
	var err error
	rest, uri := strings.CutPrefix(s, scheme)
	if !uri {
		hop.Host = rest
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			hop.User, hop.Host = rest[:at], rest[at+1:]
			err = checkPart(hop.User)
		}
	} else {
		hop, err = splitURI(rest)
	}
	if err != nil {
		return Hop{}, err
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
	if uri && strings.Contains(hop.Host, ":") {
		return Hop{}, errors.New("ssh reads no IPv6 address in a URI: write user@[address]:port")
	}
	return hop, nil
}

const scheme = "ssh://"

// splitURI splits a URI without its scheme at the user, as parse_uri of OpenSSH's misc.c:
// the first @ ends the user, who may be percent-encoded and have parameters after a
// semicolon, which ssh ignores. The path is empty.
func splitURI(s string) (Hop, error) {
	user, host, given := strings.Cut(s, "@")
	if !given {
		user, host = "", s
	}
	if host = strings.TrimSuffix(host, "/"); strings.Contains(host, "/") {
		return Hop{}, errors.New("a URI of a jump host has no path")
	}
	if !given {
		return Hop{Host: host}, nil
	}
	user, _, _ = strings.Cut(user, ";")
	user, err := url.QueryUnescape(user) // a + is a space to ssh, too
	if err != nil {
		return Hop{}, errors.New("the user before @ has a percent sign without two hexadecimal digits")
	}
	return Hop{Host: host, User: user}, checkPart(user)
}

func checkPart(user string) error {
	if err := CheckUser(user); err != nil {
		return fmt.Errorf("the user before @ %w", err)
	}
	return nil
}

// CheckUser returns an error if a text is no login name. The error completes a sentence that
// begins with "the user" and does not quote the text: it may be user:password, which is
// refused. A name for a gateway such as root@host:22, with the colon after an @, is valid.
func CheckUser(user string) error {
	name, _, _ := strings.Cut(user, "@")
	switch {
	case user == "":
		return errors.New("is empty")
	case user[0] == '-':
		return errors.New(`starts with "-"`)
	case strings.Contains(name, ":"):
		return errors.New("has a password after a colon: leave it out")
	case strings.ContainsFunc(user, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }):
		return errors.New("has a space or an unprintable character")
	}
	return nil
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
