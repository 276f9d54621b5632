package rollout

import "github.com/aoifleet/aoifleet/internal/host"

// refuseTwins refuses of several names for one machine all but the first: two
// transactions on it would be in each other's way, and it would count twice. A
// host may claim to be another, and so have the later of both refused; that is
// all that comes of it.
func refuseTwins(entries []Entry) {
	first := map[string]string{} // by what the machine says it is: the name
	for i, e := range entries {
		if e.Seen == nil || e.Seen.Machine == "" {
			continue
		}
		name, twin := first[e.Seen.Machine]
		switch {
		case !twin:
			first[e.Seen.Machine] = e.Host.Name
		case e.Outcome == "" || e.Outcome == Current:
			entries[i] = e.stop(Refused, &host.Problem{Class: "configuration",
				Message: "this is host " + name + " under another name: machine id and boot id are the same",
				Hint:    "leave one of them out of the inventory; containers with one /etc/machine-id each need their own"})
			entries[i].Action = None
		}
	}
}
