package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
)

// inventory reads the document. Each level starts as a copy of the level around it and
// is overwritten key by key, so that the nearest value wins.
func (r *reader) inventory(root *yaml.Node, inv *Inventory) {
	f := file{rollout: inv.Rollout, azure: inv.Azure}
	walk(r, r.fileKeys, 0, "the inventory", "", root, &f)
	inv.Rollout, inv.Azure, inv.Notify = f.rollout, f.azure, f.notify
	r.checkAzure(f.custom, f.azure)
	if root.Kind != yaml.MappingNode {
		return
	}
	if f.version == nil {
		r.fail(root, "start the file with version: 1", "the inventory has no version")
	}
	base := draft{Host: defaultHost(r.env)}
	walk(r, r.hostKeys, inDefaults, "defaults", "", f.defaults, &base)
	groups := r.readGroups(f.groups, base)
	inv.Hosts = r.readHosts(nil, f.hosts, base)
	for i := range groups {
		inv.Hosts = r.readHosts(inv.Hosts, groups[i].hosts, groups[i])
	}
	r.checkWhole(root, inv.Hosts)
	r.labelInUse(f.unavailable, inv)
	r.labelsInUse(f.windowLabels, inv)
}

// checkWhole reports errors that no single line causes.
func (r *reader) checkWhole(root *yaml.Node, hosts []Host) {
	if !r.anyHost && len(r.errs) == 0 { // otherwise the hosts may be what could not be read
		r.fail(root, `list them under "hosts" or "groups"`, "the inventory has no hosts")
	}
	for i := range hosts {
		h := &hosts[i]
		switch {
		case h.User == "":
			r.fail(r.names[h.Name], `set "user"`, "host %s has no user, and your login name is unknown", h.Name)
			return
		case h.KnownHosts == "":
			r.fail(r.names[h.Name], `set "known_hosts"`, "host %s has no known_hosts, and your home directory is unknown", h.Name)
			return
		}
	}
}

// readGroups reads the settings of the groups. Their hosts are read later, when the names
// of all groups are known.
func (r *reader) readGroups(n *yaml.Node, base draft) []draft {
	var groups []draft
	for name, body := range r.pairs(n, "groups") {
		problem := nameProblem(name.Value)
		if first := r.groups[name.Value]; first != nil {
			r.fail(name, "", "group %s is given twice; first at %s", quote(name.Value), r.at(first))
			continue
		}
		if strings.Contains(name.Value, "[") {
			problem = "has a range, which only hosts can have"
		}
		if problem != "" {
			r.fail(name, "", "group name %s %s", quote(name.Value), problem)
		}
		r.groups[name.Value] = name
		group := base
		group.Group = name.Value
		walk(r, r.hostKeys, inGroup, "a group", "", body, &group)
		groups = append(groups, group)
	}
	return groups
}

// readHosts reads a mapping of hosts and returns hosts with them appended.
func (r *reader) readHosts(hosts []Host, n *yaml.Node, outer draft) []Host {
	if n != nil && n.Kind == yaml.SequenceNode {
		r.fail(n, `write "name: {}" for each, not "- name"`, "hosts must be a mapping from name to settings")
		return hosts
	}
	for name, body := range r.pairs(n, "hosts") {
		r.anyHost = true
		h := outer
		h.hosts = nil
		walk(r, r.hostKeys, inHost, "a host", "", body, &h)
		hosts = r.expand(hosts, name, h)
	}
	return hosts
}

// entry is one key under hosts, before its ranges are expanded.
type entry struct {
	draft
	node  *yaml.Node // the name
	names template
	addr  endpoint
}

// endpoint is an address as written, with its ranges. Its zero value means that the name
// is the address; texts is nil after an error.
type endpoint struct {
	node *yaml.Node
	template
}

// expand appends the hosts of one entry. It reports each kind of mistake once per entry,
// not once per host.
func (r *reader) expand(hosts []Host, name *yaml.Node, h draft) []Host {
	e, err := entry{draft: h, node: name, addr: h.address}, error(nil)
	if e.names, err = parseTemplate(name.Value); err != nil {
		r.fail(name, "", "host name %s: %s", quote(name.Value), err)
		return hosts
	}
	if e.addr.node == nil {
		e.addr = endpoint{node: name, template: e.names}
	}
	n := e.names.size()
	if r.full || len(hosts)+n > maxHosts {
		r.tooMany(name)
		return hosts
	}
	if !r.checkNames(e, n) || !r.checkAddresses(e, n) {
		return hosts
	}
	r.checkRoutes(e, n)
	hosts = slices.Grow(hosts, n)
	for i := range n {
		hosts = append(hosts, e.host(r, i))
	}
	return hosts
}

// tooMany reports, once, that there are more than maxHosts hosts.
func (r *reader) tooMany(at *yaml.Node) {
	if !r.full {
		r.fail(at, "", "more than %d hosts", maxHosts)
	}
	r.full = true
}

// checkNames validates the n names of an entry and records them as used.
func (r *reader) checkNames(e entry, n int) bool {
	for i := range n {
		name := e.names.at(i)
		if p := nameProblem(name); p != "" {
			r.fail(e.node, nameHint(name), "host name %s %s", quote(name), p)
			return false
		}
		if first := r.names[name]; first != nil {
			r.fail(e.node, "a host belongs to one group; use labels for a second grouping",
				"host %s is defined twice; first at %s", quote(name), r.at(first))
			return false
		}
		if group := r.groups[name]; group != nil {
			r.fail(e.node, "", "host %s has the name of the group at %s", quote(name), r.at(group))
			return false
		}
		r.names[name] = e.node
	}
	return true
}

// checkAddresses checks that an entry has n addresses and validates each.
func (r *reader) checkAddresses(e entry, n int) bool {
	if e.addr.texts == nil { // already reported
		return false
	}
	if size := e.addr.size(); size != n {
		r.fail(e.addr.node, "the ranges in the name and in the address must have the same length",
			"the name expands to %s, the address to %s", sizeText(n), sizeText(size))
		return false
	}
	for i := range n {
		addr := e.addr.at(i)
		if p, hint := addressProblem(addr); p != "" {
			if e.addr.node == e.node {
				hint = `give the host an "address"`
			}
			r.fail(e.addr.node, hint, "address %s %s", quote(addr), p)
			return false
		}
	}
	return true
}

func nameHint(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return `give the host a name, and set its "address" to this`
	}
	return ""
}

// host returns the i-th host of the entry.
func (e *entry) host(r *reader, i int) Host {
	h := e.Host
	h.Name = e.names.at(i)
	h.Address = e.addr.at(i)
	h.Certificate = strings.ReplaceAll(h.Certificate, "{name}", h.Name)
	if h.Certificate != "" && !azurecloud.InVault(h.Certificate) {
		h.Certificate = r.absolute(h.Certificate)
	}
	if h.Agent.Configuration != "" {
		h.Agent.Configuration = r.absolute(strings.ReplaceAll(h.Agent.Configuration, "{name}", h.Name))
	}
	return h
}

// sizeText returns the number of hosts of a range, as text.
func sizeText(n int) string {
	switch {
	case n == 1:
		return "1 host"
	case n > maxHosts:
		return fmt.Sprintf("more than %d", maxHosts)
	}
	return strconv.Itoa(n)
}
