package rollout

import (
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// What crosses the boundary of a process is data without a secret: no bytes of a certificate or
// of another file, and nothing with which a host is logged in to. A Policy is such data as it is.

// HostData is what a transaction depends on of a host's settings in the inventory. How the host is
// logged in to, and with what, is not among it.
type HostData struct {
	Name    string            `json:"name"`
	Address string            `json:"address"`
	Group   string            `json:"group,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Agent   inventory.Agent   `json:"agent"`
	Health  inventory.Health  `json:"health"`
	Backups inventory.Backups `json:"backups"`
	Helper  string            `json:"helper,omitempty"`
}

// DataOf returns the HostData of a host. Agent.Configuration, a path of the workstation, is left out.
func DataOf(h *inventory.Host) HostData {
	agent := h.Agent
	agent.Configuration = ""
	return HostData{h.Name, h.Address, h.Group, h.Labels, agent, h.Health, h.Backups, h.Helper}
}

// Host returns a host with these settings alone.
func (d HostData) Host() *inventory.Host {
	return &inventory.Host{Name: d.Name, Address: d.Address, Group: d.Group, Labels: d.Labels, Agent: d.Agent, Health: d.Health, Backups: d.Backups, Helper: d.Helper}
}

// Difference names the first setting that is another one in other, with the key of the inventory,
// such as health.window; "": there is none.
func (d HostData) Difference(other HostData) string {
	return difference("", reflect.ValueOf(d), reflect.ValueOf(other))
}

func difference(name string, a, b reflect.Value) string {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			key := strings.TrimPrefix(name+"."+inventoryKey(a.Type().Field(i).Name), ".")
			if found := difference(key, a.Field(i), b.Field(i)); found != "" {
				return found
			}
		}
		return ""
	case reflect.Slice, reflect.Map: // JSON does not tell an empty one from none
		if a.Len()+b.Len() == 0 {
			return ""
		}
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) {
		return name
	}
	return ""
}

// inventoryKey returns the inventory's key of a field: deny_default of DenyDefault.
func inventoryKey(field string) string {
	var b strings.Builder
	for i, r := range field {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// CertificateData is what is public of a certificate, and the digest of the file to install.
type CertificateData struct {
	Leaf   certificate.Info `json:"leaf"`
	Digest string           `json:"digest"`
}

// EntryData is the JSON form of an Entry of a certificate's rotation. Files and a package are not
// part of it.
type EntryData struct {
	Index       int               `json:"index"` // in the whole plan
	Host        HostData          `json:"host"`
	Certificate *CertificateData  `json:"certificate,omitempty"`
	Seen        *host.Observation `json:"seen,omitempty"`
	Action      Action            `json:"action,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Outcome     Outcome           `json:"outcome,omitempty"`
	Problem     *problem.Error    `json:"problem,omitempty"`
	Wave        int               `json:"wave,omitempty"`
	Window      inventory.Opening `json:"window,omitzero"`
	Verified    *bool             `json:"verified,omitempty"`
	Unplanned   bool              `json:"unplanned,omitempty"`
}

// Data returns the entry, which has the given index in its plan, as data.
func (e Entry) Data(index int) EntryData {
	d := EntryData{Index: index, Host: DataOf(e.Host), Seen: seenData(e.Seen), Action: e.Action, Reason: e.Reason, Outcome: e.Outcome, Problem: e.Problem,
		Wave: e.Wave, Window: e.Window, Verified: e.Verified, Unplanned: e.unplanned}
	if e.Certificate != nil {
		d.Certificate = &CertificateData{e.Certificate.Leaf, e.Certificate.Digest()}
	}
	return d
}

// seenData returns an observation without the bytes of files, and without what only the making of a
// plan needs: the digests of its backups would be most of the message.
func seenData(seen *host.Observation) *host.Observation {
	if seen == nil {
		return nil
	}
	small := *seen
	small.Configuration, small.Contents = nil, nil
	small.Backups, small.Leftover, small.Machine, small.HostKey, small.ConfigDigest = nil, nil, "", "", ""
	return &small
}

// Entry returns the entry. Its certificate has no bytes, see certificate.Known.
func (d EntryData) Entry() Entry {
	e := Entry{Target: Target{Host: d.Host.Host()}, Seen: d.Seen, Action: d.Action, Reason: d.Reason, Outcome: d.Outcome, Problem: d.Problem,
		Wave: d.Wave, Window: d.Window, Verified: d.Verified, unplanned: d.Unplanned}
	if d.Certificate != nil {
		e.Certificate = certificate.Known(d.Certificate.Leaf, d.Certificate.Digest)
	}
	return e
}

// ResultData is the JSON form of a Result, without diagnostics.
type ResultData struct {
	EntryData
	Proof     string      `json:"proof,omitempty"`
	Known     bool        `json:"known,omitempty"`
	Notes     []string    `json:"notes,omitempty"`
	Evidence  []string    `json:"evidence,omitempty"`
	Steps     []host.Step `json:"steps,omitempty"`
	SettlesAt time.Time   `json:"settles_at,omitzero"`
	Confirmed bool        `json:"confirmed,omitempty"`
}

// Data returns the result, which has the given index in its run, as data.
func (r Result) Data(index int) ResultData {
	return ResultData{r.Entry.Data(index), r.Proof, r.Known, r.Notes, r.Evidence, r.Steps, r.SettlesAt, r.Confirmed}
}

// Result returns the result.
func (d ResultData) Result() Result {
	return Result{Entry: d.Entry(), Proof: d.Proof, Known: d.Known, Notes: d.Notes, Evidence: d.Evidence, Steps: d.Steps, SettlesAt: d.SettlesAt, Confirmed: d.Confirmed}
}

// PlanOf returns the plan of entries that a saved plan has, for Apply with Runner.Parts, or for
// Runner.Part: its waves are fixed.
func PlanOf(entries []Entry, policy Policy, unaccepted bool) *Plan {
	p := &Plan{Entries: entries, Policy: policy, decide: policy.decide, fixedWaves: true, Unaccepted: unaccepted}
	places := map[int]int{}
	for _, i := range p.due() {
		n := entries[i].Wave
		place, known := places[n]
		if !known {
			place = len(p.Waves)
			places[n] = place
			p.Waves = append(p.Waves, Wave{Number: n, Canary: p.inCanary(n)})
		}
		p.Waves[place].Hosts = append(p.Waves[place].Hosts, i)
	}
	slices.SortFunc(p.Waves, func(a, b Wave) int { return a.Number - b.Number })
	return p
}

// Movable returns an error that names what a workflow engine can't carry out of the plan, nil if it
// can carry out all of it.
func (p *Plan) Movable() *problem.Error {
	for _, i := range p.due() {
		e := &p.Entries[i]
		what := ""
		switch {
		case len(e.Files) > 0 || e.Package != nil || e.FilesOnly:
			what = "files or a package"
		case e.Action != Rotate && e.Action != Restart:
			what = "the action " + string(e.Action)
		case !p.fixedWaves:
			what = "waves that are not those of a saved plan"
		default:
			continue
		}
		return problem.New(problem.Usage, "an engine rotates certificates by a saved plan; carry this out with --engine none", "%s: the plan has %s", e.Host.Name, what)
	}
	return nil
}
