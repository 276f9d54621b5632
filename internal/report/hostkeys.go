package report

import (
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// ScannedHost is a host of `hostkeys scan -o json`.
type ScannedHost struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Port    int            `json:"port"`
	Keys    []ScannedKey   `json:"keys"`
	Added   int            `json:"added"`
	Error   *problem.Error `json:"error"`
}

// ScannedKey is one key of a ScannedHost.
type ScannedKey struct {
	Type        string          `json:"type"`
	Fingerprint string          `json:"fingerprint"`
	State       remote.KeyState `json:"state"`
	Line        string          `json:"line,omitempty"` // FILE:NUMBER in known_hosts that decides State
}

// HostKeysDocument is what `hostkeys scan -o json` prints.
type HostKeysDocument struct {
	Head
	Hosts []ScannedHost `json:"hosts"`
}

// NewHostKeysDocument returns the document of a scan.
func NewHostKeysDocument(head Head, scans []fleet.Scanned) HostKeysDocument {
	return HostKeysDocument{head, scannedHosts(scans)}
}

func scannedHosts(scans []fleet.Scanned) []ScannedHost {
	hosts := make([]ScannedHost, len(scans))
	for i, s := range scans {
		hosts[i] = ScannedHost{Name: s.Host.Name, Address: s.Host.Address, Port: s.Host.Port, Keys: []ScannedKey{}, Added: s.Added, Error: scanError(s.Err)}
		for _, k := range s.Keys {
			hosts[i].Keys = append(hosts[i].Keys, ScannedKey{k.Type, k.Fingerprint, k.State, k.Line})
		}
	}
	return hosts
}

func scanError(err error) *problem.Error {
	if err == nil {
		return nil
	}
	if p := problem.As(err); p != nil {
		return p
	}
	return problem.New(problem.Internal, "", "%s", err.Error())
}

// HostKeys prints a line for each key of each host.
func (v View) HostKeys(w io.Writer, scans []fleet.Scanned) {
	t := v.table(w, "ADDRESS")
	fmt.Fprintln(t, "HOST\tADDRESS\tTYPE\tFINGERPRINT\tSTATE")
	for _, s := range scans {
		address := s.Host.Address
		if s.Host.Port != remote.DefaultPort {
			address = net.JoinHostPort(address, strconv.Itoa(s.Host.Port))
		}
		for _, k := range s.Keys {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Host.Name, address, k.Type, k.Fingerprint, stateText(k))
		}
		if e := scanError(s.Err); e != nil {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t%s: %s\n", s.Host.Name, address, e.Class, e.Message)
		}
	}
	_ = t.Flush() // as with all writes here, the caller asks w for the error
}

func stateText(k remote.HostKey) string {
	switch {
	case k.State == remote.KeyChanged && k.Line != "":
		return "changed: " + k.Line + " has another key"
	case k.State == remote.KeyChanged:
		return "changed: the inventory pins another key"
	case k.State == remote.KeyRevoked:
		return "revoked at " + k.Line
	}
	return string(k.State)
}

// HostKeyPins prints the lines for the inventory that pin each host's key. A host whose
// key the operator must check first is printed as a comment.
func HostKeyPins(w io.Writer, scans []fleet.Scanned) {
	fmt.Fprintln(w, "# These keys come from the network and are not verified. Compare them on each host first:\n# ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
	for _, s := range scans {
		switch {
		case s.Err != nil:
			fmt.Fprintf(w, "# %s: %s\n", s.Host.Name, s.Err)
		case s.Suspect():
			fmt.Fprintf(w, "# %s: its key has changed or is revoked; check: aoifleet hostkeys scan --limit %s\n", s.Host.Name, s.Host.Name)
		default:
			k := toPin(s)
			fmt.Fprintf(w, "%s:\n  host_key_fingerprint: %q  # %s, %s\n", s.Host.Name, k.Fingerprint, k.Type, k.State)
		}
	}
}

// toPin returns the key that is already pinned or known, otherwise the first, which is the
// one that connections prefer.
func toPin(s fleet.Scanned) remote.HostKey {
	for _, state := range []remote.KeyState{remote.KeyPinned, remote.KeyKnown} {
		for _, k := range s.Keys {
			if k.State == state {
				return k
			}
		}
	}
	return s.Keys[0]
}
