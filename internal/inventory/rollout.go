package inventory

import "gopkg.in/yaml.v3"

// amounts reads a count or a percentage, or a list of them.
func (v value) amounts(to *[]Amount) {
	if v.describes(anyOf(amountShape(), listShape(amountShape(), 1, maxList))) {
		return
	}
	if v.node.Kind != yaml.SequenceNode {
		var one Amount
		if v.amount(&one) {
			*to = []Amount{one}
		}
		return
	}
	if len(v.node.Content) == 0 {
		v.fail(leaveOut, "%s is an empty list", v.key)
		return
	}
	if !v.short() {
		return
	}
	list, ok := make([]Amount, len(v.node.Content)), true
	for i, n := range v.node.Content {
		item := v
		item.node = n
		ok = !refused(n) && item.amount(&list[i]) && ok
	}
	if ok {
		*to = list
	}
}

// unavailable reads {label: …, count: …} or none. It returns the node of the label, nil if
// there is none.
func (v value) unavailable(to *Unavailable) *yaml.Node {
	if v.describes(anyOf(among(none), keysOf(unavailableKeys(nil), shape{"required": []string{"label"}}))) {
		return nil
	}
	*to = Unavailable{}
	if isText(none)(v.node) {
		return nil
	}
	var at *yaml.Node
	read := Unavailable{Count: 1}
	walk(v.r, unavailableKeys(&at), 0, v.key, v.key+".", v.node, &read)
	if at == nil && v.node.Kind == yaml.MappingNode {
		v.fail("set one: {label: site, count: 1}", "%s has no label", v.key)
	}
	if read.Label == "" {
		return nil
	}
	*to = read
	return at
}

func unavailableKeys(at **yaml.Node) []key[Unavailable] {
	return []key[Unavailable]{
		{name: "label", read: func(v value, u *Unavailable) {
			if v.line(&u.Label); at != nil {
				*at = v.node
			}
		}},
		{name: "count", read: func(v value, u *Unavailable) { v.number(&u.Count, 1, maxHosts) }},
	}
}

// labelInUse reports a label that no host has: a typo would remove the bound.
func (r *reader) labelInUse(at *yaml.Node, inv *Inventory) {
	label := inv.Rollout.MaxUnavailable.Label
	if at == nil || len(inv.Hosts) == 0 {
		return
	}
	known := func(yield func(string) bool) {
		for _, h := range inv.Hosts {
			for name := range h.Labels {
				if !yield(name) {
					return
				}
			}
		}
	}
	for name := range known {
		if name == label {
			return
		}
	}
	r.fail(at, DidYouMean(label, known), "no host has the label %s", quote(label))
}
