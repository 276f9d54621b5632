package sshconfig

import (
	"errors"
	"strings"

	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// parseHops reads the value of ProxyJump: [user@]host[:port] or an ssh URI,
// several separated by commas.
func parseHops(s string) ([]jump.Hop, error) {
	if s == "" || s == None {
		return nil, nil
	}
	var hops []jump.Hop
	for part := range strings.SplitSeq(s, ",") {
		hop, ok := parseHop(strings.TrimSpace(part))
		if !ok {
			return nil, &problem.Error{Class: problem.Usage, Message: "ProxyJump is not a list of [user@]host[:port]: " + quote(s)}
		}
		hops = append(hops, hop)
	}
	return hops, nil
}

func parseHop(s string) (jump.Hop, bool) {
	hop, err := jump.Parse(strings.TrimSuffix(strings.TrimPrefix(s, "ssh://"), "/"))
	return hop, err == nil && hop.Host != "" && hop.Host[0] != '-' && !strings.ContainsAny(hop.Host, " \t/[]@,")
}

// atHop says at which jump host a route could not be resolved; the one that is
// farthest from the host is enough.
func atHop(hop jump.Hop, err error) error {
	var e *problem.Error
	const mark = "jump host "
	if !errors.As(err, &e) || strings.HasPrefix(e.Message, mark) {
		return err
	}
	return &problem.Error{Class: problem.Usage, Message: mark + quote(hop.Host) + ": " + e.Message, Hint: e.Hint}
}
