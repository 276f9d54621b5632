package host

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// Cloud has the names of the cloud that an agent connects to, and the turns of the hosts of
// a run at the SFTP servers.
type Cloud struct {
	Authority   string // HOST[:PORT] of Entra
	VaultSuffix string // of a vault's name, without a leading dot; it may end with :PORT
	Turns       *Turns
}

// Needs is what an agent needs besides its certificate.
type Needs struct {
	Inspected  *Inspection // nil: not asked, or no answer
	InspectErr error
	Login      []Reached // Entra, if the agent signs in there
	Vaults     []Reached
	Servers    []Reached // of Inspected.Servers, in their order
}

// needs asks the host for everything that the agent needs.
func (v *VM) needs(ctx context.Context, config AgentConfig, cloud Cloud) (n Needs) {
	if n.Inspected, n.InspectErr = v.Inspect(ctx, config, NewSalt()); n.InspectErr != nil && AsProblem(n.InspectErr).Class == problem.Unreachable {
		return n
	}
	var probes []Probe
	if len(config.Providers) > 0 {
		probes = append(probes, Probe{Endpoint: endpointOf(cloud.Authority)})
	}
	for _, vault := range config.Vaults {
		probes = append(probes, Probe{Endpoint: endpointOf(vault + "." + cloud.VaultSuffix)})
	}
	for i, s := range config.Servers {
		probe := Probe{Endpoint: s.Endpoint, SSH: true}
		if n.Inspected != nil && i < len(n.Inspected.Servers) {
			probe.Preferred = n.Inspected.Servers[i].types()
		}
		probes = append(probes, probe)
	}
	reached := v.Reach(ctx, probes, cloud.Turns)
	servers := len(reached) - len(config.Servers)
	vaults := servers - len(config.Vaults)
	n.Login, n.Vaults, n.Servers = reached[:vaults], reached[vaults:servers], reached[servers:]
	if ctx.Err() != nil {
		n.InspectErr = ctx.Err()
	}
	return n
}

// endpointOf parses HOST[:PORT], by default port 443.
func endpointOf(text string) Endpoint {
	if name, number, found := strings.Cut(text, ":"); found {
		port, _ := strconv.Atoi(number) // 0 is not valid
		return Endpoint{name, port}
	}
	return Endpoint{text, 443}
}

// types returns the types of the keys that are known.
func (s KnownServer) types() (types []string) {
	for _, k := range s.Known {
		if k.Marker == "" {
			types = append(types, k.Type)
		}
	}
	return types
}

// States returns what the known_hosts file says of keys that the server has: known,
// revoked, changed (it has another key of the type, or only keys that the server does not
// have), new, or "" if an authority may have certified the key.
func (s KnownServer) States(keys []remote.HostKey) []remote.KeyState {
	states := make([]remote.KeyState, len(keys))
	types, anyKnown, authority := s.types(), false, false
	for _, known := range s.Known {
		authority = authority || known.Marker == "cert-authority"
		for i, key := range keys {
			switch {
			case key.Fingerprint != known.Fingerprint || known.Marker == "cert-authority":
			case known.Marker == "revoked":
				states[i] = remote.KeyRevoked
			case states[i] == "":
				states[i], anyKnown = remote.KeyKnown, true
			}
		}
	}
	for i, key := range keys {
		switch {
		case states[i] != "" || authority:
		case slices.Contains(types, key.Type), !anyKnown && len(types) > 0:
			states[i] = remote.KeyChanged
		default:
			states[i] = remote.KeyNew
		}
	}
	return states
}
