package report

import "github.com/aoifleet/aoifleet/internal/inventory"

// Listing is what `inventory list -o json` and `inventory validate -o json` print.
type Listing struct {
	Head
	Inventory string       `json:"inventory"`
	Hosts     []ListedHost `json:"hosts"`
}

// ListedHost is one host of a listing.
type ListedHost struct {
	Name    string            `json:"name"`
	Address string            `json:"address"`
	Port    int               `json:"port"`
	User    string            `json:"user"`
	Jump    []string          `json:"jump,omitempty"` // the inventory's own
	Group   string            `json:"group,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// NewListing returns the listing of the hosts of an inventory file.
func NewListing(head Head, file string, hosts []inventory.Host) Listing {
	l := Listing{head, file, make([]ListedHost, len(hosts))}
	for i, h := range hosts {
		l.Hosts[i] = ListedHost{h.Name, h.Address, h.Port, h.User, jumpNames(h), h.Group, h.Labels}
	}
	return l
}

func jumpNames(h inventory.Host) []string {
	var names []string
	for _, hop := range h.Jump {
		names = append(names, hop.String())
	}
	return names
}
