package inventory

import (
	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/jump"
)

// maxJumps bounds a chain of jump hosts: longer is a slip.
const maxJumps = 8

// jump reads one jump host or a list of them; none: no jump host, whatever
// ssh_config says.
func (v value) jump(to *[]jump.Hop) {
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
	hops := make([]jump.Hop, len(nodes))
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

// hop reads [user@]host[:port] as ssh -J does.
func (v value) hop(to *jump.Hop) bool {
	s, ok := v.text()
	if !ok {
		return false
	}
	hop, err := jump.Parse(s)
	if err != nil {
		v.fail("", "%s: %v", v.key, err)
		return false
	}
	if problem, _ := addressProblem(hop.Host); problem != "" {
		v.fail("write [user@]host[:port]", "%s: host %s %s", v.key, quote(hop.Host), problem)
		return false
	}
	*to = hop
	return true
}
