package newinventory

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// vm is what is read of one VM of az vm list -d.
type vm struct {
	Name, ResourceGroup, PowerState string
	PrivateIPs                      *string `json:"privateIps"`
	PublicIPs                       *string `json:"publicIps"`
	Tags                            map[string]string
	OSProfile                       struct{ AdminUsername string }
	StorageProfile                  struct {
		OSDisk struct{ OSType string }
	}
}

// FromAzure makes an inventory of what az vm list -d -o json prints: of the VMs with Linux, each
// in the group of its resource group, with its tags as labels, or only those of labels if there are
// some. public means that the address is the public one.
func FromAzure(data []byte, labels []string, public bool, env inventory.Env) (*Draft, error) {
	var vms []vm
	if json.Unmarshal(data, &vms) != nil {
		return nil, problem.New(problem.Usage, "write it with: az vm list -d -o json >FILE", "it is not the list of VMs that az vm list prints")
	}
	d := &Draft{From: "Imported from Azure's list of VMs. It does not follow it: review it, and keep this file."}
	t := translator{draft: d, env: env, labels: labels, checked: map[string]string{}, found: map[string]bool{}}
	count, groups := map[string]int{}, map[string]string{}
	for _, m := range vms {
		count[strings.ToLower(m.Name)]++
	}
	if len(vms) > 0 && !slices.ContainsFunc(vms, func(m vm) bool { return m.PrivateIPs != nil || m.PublicIPs != nil }) {
		return nil, problem.New(problem.Usage, "list them with -d: az vm list -d -o json", "the list of VMs has no addresses")
	}
	for _, m := range vms {
		name, folded := m.Name, strings.ToLower(m.ResourceGroup)
		if groups[folded] == "" { // Azure does not always return a name in the same case
			groups[folded] = m.ResourceGroup
		}
		if count[strings.ToLower(name)] > 1 { // a name is unique in its resource group
			name = groups[folded] + "." + name
		}
		h := &host{Settings: Settings{}, name: name, group: groups[folded]}
		if t.vm(h, m, public) {
			d.add(h)
		}
	}
	return d, t.checkLabels("tag")
}

// vm stores the settings of a VM. It returns false for one that has no agent or no address.
func (t *translator) vm(h *host, m vm, public bool) bool {
	addresses, kind := m.PrivateIPs, "private"
	if public {
		addresses, kind = m.PublicIPs, "public"
	}
	notes := &t.draft.notes
	switch {
	case !strings.EqualFold(m.StorageProfile.OSDisk.OSType, "Linux"):
		notes.add(h.name, "left out: its system is not Linux")
		return false
	case addresses == nil || *addresses == "":
		notes.add(h.name, "left out: it has no %s address", kind)
		return false
	}
	first, others, several := strings.Cut(*addresses, ",")
	h.address = first
	if several && others != "" {
		notes.add(h.name, "only the first of its %s addresses", kind)
	}
	if m.PowerState != "" && m.PowerState != "VM running" {
		notes.add(h.name, "it did not run when Azure listed it")
	}
	t.set(h, "user", "adminUsername", m.OSProfile.AdminUsername)
	for _, tag := range slices.Sorted(maps.Keys(m.Tags)) {
		t.found[tag] = true
		switch wrong := inventory.NameProblem(tag); {
		case t.labels != nil && !slices.Contains(t.labels, tag), m.Tags[tag] == "":
		case wrong != "":
			notes.add(h.name, "a tag: its name %s", wrong)
		default:
			t.set(h, "labels."+tag, "tag "+tag, m.Tags[tag])
		}
	}
	return true
}
