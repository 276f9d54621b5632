package sshconfig

import (
	"errors"
	"strings"

	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// parseHops parses the value of ProxyJump: [user@]host[:port] or an ssh URI, or several
// separated by commas.
func parseHops(s string) ([]jump.Hop, error) {
	if s == "" || s == None {
		return nil, nil
	}
	var hops []jump.Hop
	for part := range strings.SplitSeq(s, ",") {
		hop, err := jump.Parse(strings.TrimSpace(part))
		if err == nil && (hop.Host == "" || hop.Host[0] == '-' || strings.ContainsAny(hop.Host, " \t/[]@,")) {
			err = errors.New("its host is not a name or an address")
		}
		if err != nil { // without the value, which may have a password
			return nil, &problem.Error{Class: problem.Usage, Message: "ProxyJump is not a list of [user@]host[:port]: " + err.Error()}
		}
		hops = append(hops, hop)
	}
	return hops, nil
}

// atHop returns err with the jump host whose route could not be resolved. It adds only
// the one farthest from the target.
func atHop(hop jump.Hop, err error) error {
	var e *problem.Error
	const mark = "jump host "
	if !errors.As(err, &e) || strings.HasPrefix(e.Message, mark) {
		return err
	}
	return &problem.Error{Class: problem.Usage, Message: mark + quote(hop.Host) + ": " + e.Message, Hint: e.Hint}
}
