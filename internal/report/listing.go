package report

import (
	"fmt"
	"io"
	"strconv"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Listing is what `inventory list -o json` and `inventory validate -o json` print.
type Listing struct {
	Head
	Inventory string       `json:"inventory"`
	Hosts     []ListedHost `json:"hosts"`
	Warnings  []Warning    `json:"warnings,omitempty"` // of a validation: what would stop a rotation
}

// ListedHost is one host of a listing.
type ListedHost struct {
	Name    string            `json:"name"`
	Address string            `json:"address"`
	Port    *int              `json:"port"`           // null: ssh_config decides
	User    *string           `json:"user"`           // null: ssh_config decides
	Jump    []string          `json:"jump,omitempty"` // the inventory's own
	Group   string            `json:"group,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// NewListing returns the listing of the hosts of an inventory file.
func NewListing(head Head, file string, hosts []inventory.Host) Listing {
	l := Listing{Head: head, Inventory: file, Hosts: make([]ListedHost, len(hosts))}
	for i, h := range hosts {
		l.Hosts[i] = ListedHost{h.Name, h.Address, nil, nil, jumpNames(h), h.Group, h.Labels}
		if h.Given.Port || h.SSHConfig == sshNone {
			l.Hosts[i].Port = &h.Port
		}
		if h.Given.User || h.SSHConfig == sshNone {
			l.Hosts[i].User = &h.User
		}
	}
	return l
}

// sshNone is the value of ssh_config with which the inventory alone decides.
const sshNone = "none"

// Listing prints a line for each host, "-" for what ssh_config decides.
func (v View) Listing(w io.Writer, l Listing) {
	t := v.table(w, "USER", "PORT")
	fmt.Fprintln(t, "HOST\tADDRESS\tPORT\tUSER\tGROUP")
	for _, h := range l.Hosts {
		port, user := "-", "-"
		if h.Port != nil {
			port = strconv.Itoa(*h.Port)
		}
		if h.User != nil {
			user = *h.User
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.Address, port, user, h.Group)
	}
	_ = t.Flush() // the caller asks w for the error
}

func jumpNames(h inventory.Host) []string {
	var names []string
	for _, hop := range h.Jump {
		names = append(names, hop.String())
	}
	return names
}
