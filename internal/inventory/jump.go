package inventory

import (
	"cmp"

	"github.com/aoifleet/aoifleet/internal/jump"
)

// maxJumps bounds a chain of jump hosts: a longer one is a mistake.
const maxJumps = 8

// hopForm is what jump.Parse reads, for the schema: a URI, or [user@]host[:port].
const hopForm = `^(ssh://([^\s:@/]+@)?[^\s:@/]+(:0*[1-9][0-9]{0,4})?/?|` +
	`([^-\s:@][^\s:@]*(@\S*)?@)?([\w.%][\w.%-]*(:0*[1-9][0-9]{0,4})?|\[[\w:.%]+\](:0*[1-9][0-9]{0,4})?|[\w.%]*:[\w.%]*:[\w:.%]*))$`

// jump reads one jump host or a list of them. none means no jump host, also if
// ssh_config has one.
func (v value) jump(to *[]jump.Hop) {
	if v.describes(oneOrMore(textShape(matching(hopForm)), maxJumps)) {
		return
	}
	items, ok := v.oneOrMore("[user@]host[:port]", "write none to connect directly")
	if len(items) > maxJumps {
		v.fail("", "%s has more than %d jump hosts", v.key, maxJumps)
		return
	}
	var hops []jump.Hop
	for _, item := range items {
		var hop jump.Hop
		if item.hop(&hop) {
			hops = append(hops, hop)
		}
	}
	if ok && len(hops) == len(items) {
		*to = hops
	}
}

// hop reads [user@]host[:port] or an ssh URI, as ssh -J does.
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
		v.fail(cmp.Or(lookalikeHint(s), "write [user@]host[:port]"), "%s: host %s %s", v.key, quote(hop.Host), problem)
		return false
	}
	*to = hop
	return true
}
